"""Fine-tune SlowFast on your own videos: index, cache, train, evaluate."""

import os

__version__ = "0.1.0"

# How long OpenMP's threads spin before they sleep, in rounds: some microseconds. By default it is
# milliseconds, and beside any other busy process on the same cores training then runs several times
# slower; with none at all, a small model's short operations are a quarter slower on free cores.
# Read when torch is imported, so it stands here.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
