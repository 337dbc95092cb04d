"""Evaluate a checkpoint: scores, confidence intervals, baselines and their tables."""
