"""How fast the clip cache is, as ratios against something measured in the same run."""
