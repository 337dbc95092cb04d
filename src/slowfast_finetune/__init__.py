"""Fine-tune SlowFast on your own videos: index, cache, train, evaluate."""

import os

__version__ = "0.1.0"

# Threads that wait should sleep. OpenMP's spin instead, and beside any other busy process on the
# same cores training then runs ten times slower. Read when torch is imported, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
