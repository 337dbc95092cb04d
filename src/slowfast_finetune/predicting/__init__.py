"""Apply a trained model to videos."""
