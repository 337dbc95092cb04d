"""A trained model for others: exported, compared with what it came from, and checked."""
