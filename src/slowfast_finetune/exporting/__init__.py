"""Export a trained model to one file, compare it with its checkpoint, check files from others."""
