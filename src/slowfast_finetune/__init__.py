"""Fine-tune SlowFast on your own videos: index, cache, train, evaluate."""

__version__ = "0.1.0"
