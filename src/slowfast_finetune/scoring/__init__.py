"""Show stored videos to a model and score its answers."""
