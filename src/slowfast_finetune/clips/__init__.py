"""The clip cache: every video decoded once, stored as tensors, read as windows."""
