"""Let torchvision's pure-Python parts import where its compiled operators do not load.

A torchvision built for CUDA beside a CPU-only torch fails at import with "operator
torchvision::nms does not exist". RandAugment calls no operator, so declaring the two schemas that
the import asks for is enough.
"""

from __future__ import annotations

import importlib
import sys

import torch

BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> None:
    """Import torchvision, declaring its operator schemas first where the import needs it.

    Raises:
        ImportError: torchvision is not installed.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", BOXES)
        importlib.import_module("torchvision")
