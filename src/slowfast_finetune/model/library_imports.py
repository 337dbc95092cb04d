"""Import pytorchvideo without torchvision, and torchvision without its compiled operators."""

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _NoRoIAlign:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("RoIAlign is for detection, which this project does not do")


def import_pytorchvideo(name: str) -> Any:
    """Import ``pytorchvideo.models.<name>``.

    pytorchvideo's heads import torchvision for RoIAlign, which only detection uses. Importing
    torchvision loads torch's compiler, two seconds of processor time, and fails where it was built
    for CUDA beside a torch for CPUs. So a stand-in takes its place meanwhile, unless it is loaded.
    """
    if "torchvision.ops" in sys.modules:
        return importlib.import_module(f"pytorchvideo.models.{name}")
    names = ("torchvision", "torchvision.ops")
    stand_ins = {name: ModuleType(name) for name in names}
    stand_ins["torchvision.ops"].RoIAlign = _NoRoIAlign  # type: ignore[attr-defined]
    try:
        sys.modules.update(stand_ins)
        return importlib.import_module(f"pytorchvideo.models.{name}")
    finally:
        for name in names:
            del sys.modules[name]


def import_torchvision() -> None:
    """Import torchvision, declaring its operator schemas first where the import needs it.

    A torchvision built for CUDA beside a CPU-only torch fails at import with "operator
    torchvision::nms does not exist". RandAugment calls no operator, so declaring the two schemas
    that the import asks for is enough.

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
