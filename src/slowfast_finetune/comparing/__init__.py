"""Compare two models, and pool the folds of a k-fold."""
