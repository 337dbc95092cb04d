"""Compare and pool the results of several runs."""
