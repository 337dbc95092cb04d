"""Inspect a videos folder before training."""
