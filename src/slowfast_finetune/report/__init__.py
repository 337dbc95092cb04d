"""Show a run: the page metrics/report.html and the model card models/README.md."""
