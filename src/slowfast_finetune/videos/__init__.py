"""From class folders to a manifest, and from a video to frames."""
