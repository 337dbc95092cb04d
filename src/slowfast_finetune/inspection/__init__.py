"""Check a set of videos before training, and describe what would mislead a model."""
