"""Open and decode videos."""
