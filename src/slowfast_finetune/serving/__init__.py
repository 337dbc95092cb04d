"""Serve a trained model over HTTP: an endpoint for programs and an upload page for browsers."""
