"""What training imports, of which much only when it is needed; see small_run.SERVER."""

from __future__ import annotations

import lightning_fabric  # noqa: F401
import pandas as pd  # noqa: F401
import scipy.optimize  # noqa: F401
import small_run  # noqa: F401

import slowfast_finetune.training.train  # noqa: F401
from slowfast_finetune.model.library_imports import import_pytorchvideo, import_torchvision

import_pytorchvideo("slowfast")
import_torchvision()
