"""SlowFast: built by pytorchvideo, loaded, given a new head, saved and exported."""
