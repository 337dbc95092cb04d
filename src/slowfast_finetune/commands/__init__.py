"""Commands of ``slowfast``, one a file: each adds its options and imports the rest when it runs."""
