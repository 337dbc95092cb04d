"""Fine-tuning from the clip cache."""
