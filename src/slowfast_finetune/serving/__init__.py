"""A trained model on the network: a page to drop a video on, and an HTTP endpoint."""
