"""Grad-CAM: which places of a clip spoke for the class that the model answered.

Selvaraju et al., "Grad-CAM", 2017: the channels of a layer, each weighted by the mean gradient of
the class's logit with respect to it, summed, negative sums cut off. Here the last stage of the
slow and of the fast pathway, by captum.
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional

Frames = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]

HOW_TO_INSTALL = "pip install 'slowfast-finetune[explain]'"
LAST_STAGE = 4  # blocks 0 to 4 are the stem and four stages

# Dark and blue is cold, yellow is hot; lightness rises evenly, so that it also reads in grey.
COLOURS = np.array(
    [[8, 8, 40], [86, 24, 110], [180, 50, 95], [240, 120, 40], [252, 225, 110]], np.float32
)


@dataclass(frozen=True)
class PathwayMaps:
    """Where the evidence for a class lies, float32 (T, H, W) from 0 to 1, for each pathway."""

    slow: Maps
    fast: Maps


def is_installed() -> bool:
    """Whether captum is there."""
    return importlib.util.find_spec("captum") is not None


def explain(classifier: nn.Module, clip: Tensor, *, label: int) -> PathwayMaps:
    """The Grad-CAM maps of one clip, in both pathways.

    Gradients are computed for the last stage and what follows only, so this takes little more
    memory than a prediction.

    Args:
        classifier: a ClipClassifier in evaluation mode; which of its parameters take gradients is
            changed.
        clip: uint8 (1, T, H, W, 3).
        label: the class to be explained.
    """
    classifier.requires_grad_(False)
    stage = classifier.get_submodule(f"network.blocks.{LAST_STAGE}").requires_grad_(True)
    shape = (clip.shape[1], clip.shape[2], clip.shape[3])
    pathways = [stage.get_submodule(f"multipathway_blocks.{number}") for number in (0, 1)]
    slow, fast = (upsampled(layer_map(classifier, layer, clip, label), shape) for layer in pathways)
    return PathwayMaps(slow=slow, fast=fast)


def layer_map(classifier: nn.Module, layer: nn.Module, clip: Tensor, label: int) -> Tensor:
    """The Grad-CAM map of one layer for one clip: float32 (t, h, w) on the CPU, not negative."""
    from captum.attr import LayerGradCam

    with warnings.catch_warnings():
        # uint8 takes no gradients, and none are wanted beyond the layer.
        warnings.filterwarnings("ignore", message=r"(?s).*Gradients cannot be activated")
        attribution = LayerGradCam(classifier, layer).attribute(
            clip, target=label, relu_attributions=True
        )
    found: Tensor = attribution[0, 0].detach().float().cpu()
    return found


def upsampled(cells: Tensor, shape: tuple[int, int, int]) -> Maps:
    """A map (t, h, w) stretched over frames (T, H, W), its largest value 1; all 0 stays so.

    In time the ends meet, because the slow pathway's frames include the first and the last; in
    space each cell covers its own part of the frame.
    """
    num_frames, height, width = shape
    in_time = functional.interpolate(
        cells[None, None],
        size=(num_frames, *cells.shape[1:]),
        mode="trilinear",
        align_corners=True,
    )
    frames = functional.interpolate(
        in_time[0].transpose(0, 1), size=(height, width), mode="bilinear", align_corners=False
    )
    values = frames[:, 0]
    peak = float(values.max())
    return (values / peak if peak > 0 else values).numpy()


def overlay(frames: Frames, maps: Maps) -> Frames:
    """Frames (N, H, W, 3) in grey under the colours of their maps (N, H, W), 0 to 1."""
    grey = frames.astype(np.float32).mean(axis=3, keepdims=True)
    place = maps * (len(COLOURS) - 1)
    lower = np.clip(place.astype(int), 0, len(COLOURS) - 2)
    share = (place - lower)[..., None]
    colours = COLOURS[lower] * (1 - share) + COLOURS[lower + 1] * share
    strength = 0.25 + 0.45 * maps[..., None]
    mixed: Frames = (grey * (1 - strength) + colours * strength).clip(0, 255).astype(np.uint8)
    return mixed
