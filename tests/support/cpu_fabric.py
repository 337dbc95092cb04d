"""A Lightning Fabric for tests: one CPU, full precision."""

from __future__ import annotations

from typing import Any

import torch

from slowfast_finetune.model.device import make_fabric


def cpu_fabric() -> Any:
    """One CPU, full precision."""
    return make_fabric(torch.device("cpu"), "32-true")
