"""A look at the data before it is trained on: what is there, and what would fool the model."""
