"""Build SlowFast, give it a new head, and turn uint8 clips into its two pathways."""

import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from slowfast_finetune.base.params import ModelName
from slowfast_finetune.model.library_imports import import_pytorchvideo

# Of the Kinetics-400 checkpoints: the same for all three channels.
MEAN = 0.45
STD = 0.225
ALPHA = 4  # the fast pathway has this many times the frames of the slow one
HEAD_BLOCK = 6  # blocks 0 to 4 are the stem and four stages, 5 pools
MODEL_ZOO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"


# The networks of pytorchvideo.models.hub, and their Kinetics-400 checkpoints.
KINETICS_CHECKPOINTS: dict[ModelName, str] = {
    "slowfast_r50": "SLOWFAST_8x8_R50.pyth",
    "slowfast_r101": "SLOWFAST_8x8_R101.pyth",
    "slowfast_16x8_r101_50_50": "SLOWFAST_16x8_R101_50_50.pyth",
}


def build_slowfast(name: ModelName, *, num_classes: int, dropout_rate: float = 0.5) -> nn.Module:
    """Build a network with random weights.

    Its pools adapt to any frame count and size; at 224 px and the published frame count they
    equal the fixed ones of the paper. It takes ``[slow, fast]``, each (B, 3, T, H, W), changes
    that list, and gives logits (B, num_classes).
    """
    builder: Callable[..., nn.Module]
    if name == "slowfast_shallow":
        # One block a stage and half the width: learns small videos from scratch in minutes.
        builder = partial(
            import_pytorchvideo("slowfast").create_slowfast, model_depth=18, stem_dim_outs=(32, 4)
        )
    else:
        builder = getattr(import_pytorchvideo("hub"), name)
    network = builder(
        model_num_class=num_classes, dropout_rate=dropout_rate, head_pool=nn.AdaptiveAvgPool3d
    )
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            # pytorchvideo computes some with numpy, whose integers torch.compile cannot trace.
            module.stride = tuple(map(int, module.stride))
    return network


def head_of(network: nn.Module) -> nn.Linear:
    """The last layer, ``blocks[6].proj``: Linear from 2304 features (R50) to the classes."""
    head = network.get_submodule("blocks.6.proj")
    assert isinstance(head, nn.Linear)
    return head


def replace_head(network: nn.Module, *, num_classes: int) -> None:
    """Put a new ``nn.Linear`` with small random weights (std 0.01) in place of the last layer."""
    old = head_of(network)
    new = nn.Linear(old.in_features, num_classes)
    nn.init.normal_(new.weight, std=0.01)
    nn.init.zeros_(new.bias)
    network.get_submodule("blocks.6").proj = new


def block_of(parameter: str) -> int:
    """Which of the network's blocks a parameter belongs to, by its name; 0 is the stem."""
    found = re.search(r"(?:^|\.)blocks\.(\d+)\.", parameter)
    return int(found.group(1)) if found else HEAD_BLOCK


def pack_pathways(clips: Tensor) -> list[Tensor]:
    """Split clips (B, C, T, H, W) into a new list ``[slow (B, C, T // ALPHA, H, W), fast]``.

    The slow frames stand at ``linspace(0, T - 1, T // ALPHA)`` rounded down, as in PySlowFast:
    for T = 32 at 0, 4, 8, 13, 17, 22, 26, 31.
    """
    num_frames = clips.shape[2]
    index = torch.linspace(0, num_frames - 1, num_frames // ALPHA, device=clips.device).long()
    return [clips.index_select(2, index), clips]


class ClipClassifier(nn.Module):
    """uint8 clips in, logits out: normalising and the two pathways are part of the model.

    Training, evaluation, prediction and export share it, so they cannot differ.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        """Classify clips, uint8 (B, T, H, W, 3) in RGB; gives logits, float (B, num_classes)."""
        # Channels last is how frames are stored; the permuted view is channels_last_3d already.
        # In place: nothing else uses the float copy.
        normalised = clips.permute(0, 4, 1, 2, 3).float().div_(255).sub_(MEAN).div_(STD)
        logits: Tensor = self.network(pack_pathways(normalised))
        return logits.float()
