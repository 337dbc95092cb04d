"""From class folders to a manifest: find, hash, group and split the videos."""
