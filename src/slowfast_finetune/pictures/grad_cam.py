"""Compute Grad-CAM maps: which regions of a clip support a class.

Selvaraju et al., "Grad-CAM", ICCV 2017: the sum of a layer's channels, each weighted by the mean
gradient of the class's logit with respect to it, with negative values set to 0. The layers are the
last stages of the slow and of the fast pathway; captum does the computation.
"""

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

# From dark blue (0) to yellow (1), with evenly rising lightness, so that it also works in grey.
COLOURS = np.array(
    [[8, 8, 40], [86, 24, 110], [180, 50, 95], [240, 120, 40], [252, 225, 110]], np.float32
)


@dataclass(frozen=True)
class PathwayMaps:
    """Grad-CAM maps of each pathway, float32 (T, H, W) from 0 to 1."""

    slow: Maps
    fast: Maps


def is_installed() -> bool:
    """Tell whether captum is installed."""
    return importlib.util.find_spec("captum") is not None


def explain(classifier: nn.Module, clip: Tensor, *, label: int) -> PathwayMaps:
    """Compute the Grad-CAM maps of one clip in both pathways.

    Gradients are computed only from the logits back to the last stage, so that this takes little
    more memory than a prediction.

    Args:
        classifier: a ClipClassifier in evaluation mode; ``requires_grad`` of its parameters is
            changed.
        clip: uint8 (1, T, H, W, 3).
        label: the class to explain.
    """
    classifier.requires_grad_(False)
    stage = classifier.get_submodule(f"network.blocks.{LAST_STAGE}").requires_grad_(True)
    shape = (clip.shape[1], clip.shape[2], clip.shape[3])
    pathways = [stage.get_submodule(f"multipathway_blocks.{number}") for number in (0, 1)]
    slow, fast = (upsampled(layer_map(classifier, layer, clip, label), shape) for layer in pathways)
    return PathwayMaps(slow=slow, fast=fast)


def layer_map(classifier: nn.Module, layer: nn.Module, clip: Tensor, label: int) -> Tensor:
    """Compute the Grad-CAM map of a layer for a clip: float32 (t, h, w) on the CPU, ≥ 0."""
    from captum.attr import LayerGradCam

    with warnings.catch_warnings():
        # captum asks for gradients of the uint8 input, which has none and needs none.
        warnings.filterwarnings("ignore", message=r"(?s).*Gradients cannot be activated")
        attribution = LayerGradCam(classifier, layer).attribute(
            clip, target=label, relu_attributions=True
        )
    found: Tensor = attribution[0, 0].detach().float().cpu()
    return found


def upsampled(cells: Tensor, shape: tuple[int, int, int]) -> Maps:
    """Interpolate a map (t, h, w) to frames (T, H, W) and scale its maximum to 1, unless it is 0.

    In time the end points are aligned, because the slow pathway's frames include the first and the
    last; in space each cell covers its own part of the frame.
    """
    num_frames, height, width = shape
    in_time = functional.interpolate(
        cells[None, None], size=(num_frames, *cells.shape[1:]), mode="trilinear", align_corners=True
    )
    frames = functional.interpolate(
        in_time[0].transpose(0, 1), size=(height, width), mode="bilinear", align_corners=False
    )
    values = frames[:, 0]
    peak = float(values.max())
    return (values / peak if peak > 0 else values).numpy()


def overlay(frames: Frames, maps: Maps) -> Frames:
    """Blend grey frames, uint8 (N, H, W, 3), with the colours of their maps (N, H, W), 0 to 1."""
    grey = frames.astype(np.float32).mean(axis=3, keepdims=True)
    steps = np.linspace(0, 1, len(COLOURS))
    colours = np.stack([np.interp(maps, steps, channel) for channel in COLOURS.T], axis=-1)
    strength = 0.25 + 0.45 * maps[..., None]
    mixed: Frames = (grey * (1 - strength) + colours * strength).clip(0, 255).astype(np.uint8)
    return mixed
