"""A checkpoint of a random, untrained model that looks at tiny clips."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
from synthetic import make_params
from torch import Tensor, nn

from slowfast_finetune.base.params import Params
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    Preprocessing,
    save_checkpoint,
)
from slowfast_finetune.model.slowfast import build_slowfast

# Elsewhere than in oneDNN's kernels a sum may be taken in another order in a larger batch.
ROUNDING = 0 if platform.machine() in ("x86_64", "AMD64") else 1e-5
CLASS_NAMES = ("clap", "jump", "wave")


def tiny_params(**sections: dict[str, Any]) -> Params:
    """Clips of 8 frames at 15 fps, 32×32 of 32 px, two seconds of a video kept."""
    clip = {"short_side": 32, "max_seconds": 2, **sections.pop("clip", {})}
    return make_params(clip=clip, **sections)


class StandIn(nn.Module):
    """Answers in the place of a classifier; has what is found as its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({"6": nn.ModuleDict({"proj": nn.Identity()})})

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.blocks.get_submodule("6.proj")(self.answer(clips))
        return logits

    def answer(self, clips: Tensor) -> Tensor:
        raise NotImplementedError


def write_checkpoint(
    path: Path,
    params: Params | None = None,
    *,
    class_names: tuple[str, ...] = CLASS_NAMES,
    threshold: float = 0.0,
    temperature: float = 0.5,
) -> Path:
    """Write a checkpoint; the same every time, and no class always wins."""
    params = params or tiny_params()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_slowfast(params.model.name, num_classes=len(class_names))
        # Untrained, the blocks and the head hardly tell one clip from another.
        for name, value in network.named_parameters():
            if name.endswith("norm_c.weight") or "proj.weight" in name:
                torch.nn.init.normal_(value, 1.0 if value.ndim == 1 else 0.0, 0.5)
    save_checkpoint(
        path,
        Checkpoint(
            model_state=network.state_dict(),
            class_names=list(class_names),
            preprocessing=Preprocessing.from_params(params.clip, crop_size=params.train.crop_size),
            params=params.model_dump(mode="json"),
            epoch=1,
            val_loss=1.0,
            provenance={},
            temperature=temperature,
            threshold=threshold,
        ),
    )
    return path
