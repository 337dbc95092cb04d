"""The report: one page about a run, from the files that its stages wrote."""
