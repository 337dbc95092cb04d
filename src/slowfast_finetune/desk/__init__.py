"""The label desk: which labels to look at, the page, and the decisions that people make there."""
