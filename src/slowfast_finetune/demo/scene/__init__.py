"""Where the figure acts: backdrops, furniture, and the camera that films it."""
