"""Run a model on stored videos and score its predictions."""
