"""The measurement: numbers from predictions, and predictions from a checkpoint."""
