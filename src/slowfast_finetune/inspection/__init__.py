"""The checks whose findings the doctor and the report show, and the texts of all findings.

A new finding is a check here, called by ``checks.check_videos``, and its text in findings.yaml.
"""
