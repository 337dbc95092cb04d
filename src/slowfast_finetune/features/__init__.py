"""Features of stored videos from a network whose weights stay fixed, and heads fitted to them."""
