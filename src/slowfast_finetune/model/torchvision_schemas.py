"""Let torchvision's pure-Python parts import where its compiled operators do not load.

A torchvision built for CUDA beside a CPU-only torch fails at import with "operator
torchvision::nms does not exist". pytorchvideo needs only ``torchvision.ops.RoIAlign`` to be
importable, so declaring the two schemas that the import asks for is enough.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch

# The declaration lives as long as this object does.
_declared: torch.library.Library | None = None


def import_torchvision() -> None:
    """Import torchvision, declaring its operator schemas first where the import needs it.

    Raises:
        ImportError: torchvision is not installed.
    """
    global _declared
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared = library
        importlib.import_module("torchvision")
