"""`slowfast doctor`: choose and read the videos of a folder, run the checks, make text and page.

The checks themselves, and the texts of their findings, are in the room ``inspection``.
"""
