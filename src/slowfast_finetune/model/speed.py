"""The same numbers in less time: layout, sums in place, folded batch norms, images for frames.

A batch norm with fixed statistics multiplies and shifts each channel, and so does the convolution
before it with scaled weights and a bias: ``conv(x, w) * scale + shift == conv(x, w * scale,
bias=shift)``. Scaling weights costs next to nothing; scaling activations is a pass over them,
forward and backward. Gradients of the weights and of the batch norm's own scale and shift are the
same.

A convolution within single frames is one of images. oneDNN and cuDNN compute those in less time
than 3D ones, above all backward; the same goes for a stem, once neighbouring frames are channels.
"""

from typing import Any

import torch
from torch import Tensor, nn

# How pytorchvideo names a convolution and the batch norm right after it, in the same module.
_PAIRS = (
    ("conv", "norm"),
    ("conv_a", "norm_a"),
    ("conv_b", "norm_b"),
    ("conv_c", "norm_c"),
    ("branch1_conv", "branch1_norm"),
    ("conv_fast_to_slow", "norm"),
)


def speed_up(network: nn.Module) -> None:
    """Prepare one of pytorchvideo's SlowFast networks, in place; names and numbers stay."""
    fold_batch_norm(network)
    work_in_place(network)
    to_channels_last(network)


def to_channels_last(module: nn.Module) -> None:
    """Lay weights out channels-last, which multiplies faster; the numbers stay the same."""
    for parameter in module.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)


def fold_batch_norm(network: nn.Module) -> None:
    """Compute each batch norm in evaluation mode within the convolution before it.

    In training mode a batch norm works as usual. Which way is taken is decided at every call, so
    ``train()`` and ``eval()``, of the network or of single batch norms, mean what they always do.
    Modules, parameters and their names stay; a second call changes nothing.

    Args:
        network: one of pytorchvideo's SlowFast networks, changed in place. A convolution must not
            be called without its batch norm then.
    """
    for parent in network.modules():
        for conv_name, norm_name in _PAIRS:
            conv, norm = getattr(parent, conv_name, None), getattr(parent, norm_name, None)
            if type(conv) is nn.Conv3d and type(norm) is nn.BatchNorm3d:
                assert conv.groups == 1
                assert conv.dilation == (1, 1, 1)
                frames, side = conv.kernel_size[:2]
                assert side == 1 or (conv.stride[0], conv.padding[0]) == (1, frames // 2)
                assert side > 1 or frames == 1 or conv.stride[1:] == (1, 1)
                # Another class for the same objects: nothing that refers to them has to be told.
                conv.__class__ = _FoldingConv3d
                norm.__class__ = _FoldedBatchNorm3d
                conv.following = (norm,)  # type: ignore[assignment]


class _FoldingConv3d(nn.Conv3d):
    """Scales and shifts as the batch norm after it would, unless that is in training mode."""

    # In a tuple the batch norm is no submodule of the convolution as well, which would give its
    # parameters a second name; copy.deepcopy still leads to the copy of the batch norm.
    following: tuple[nn.BatchNorm3d]

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Convolve (B, C, T, H, W)."""
        (norm,) = self.following
        if norm.training:
            return self._convolve(input, self.weight, self.bias)
        scale, shift = _scale_and_shift(norm)
        bias = shift if self.bias is None else shift + self.bias * scale
        return self._convolve(input, self.weight * scale.view(-1, 1, 1, 1, 1), bias)

    def _convolve(self, clips: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve clips (B, C, T, H, W); as images (B · T, C, H, W) if the kernel spans space."""
        num_frames, side = self.kernel_size[:2]
        if side == 1 and clips.shape[2] < num_frames:
            # The bf16 gradient of a 3D kernel longer than the clip holds memory that nothing has
            # written (oneDNN 3.12, of torch 2.13); that of images of T by H · W pixels is right.
            flat: Tensor = nn.functional.conv2d(
                clips.flatten(3), weight.flatten(3), bias, self.stride[:2], self.padding[:2]
            )
            spread: Tensor = flat.unflatten(3, clips.shape[3:])
            return spread
        # Over time alone, or of one pixel, 3D is the faster way; oneDNN's stem forward alone too.
        forward_alone = clips.device.type == "cpu" and not torch.is_grad_enabled()
        if side == 1 or (num_frames > 1 and forward_alone):
            return nn.functional.conv3d(clips, weight, bias, self.stride, self.padding)
        if num_frames > 1:  # the stem of the fast pathway, of three channels
            padded = nn.functional.pad(clips, (0, 0, 0, 0, num_frames // 2, num_frames // 2))
            length = padded.shape[2] - num_frames + 1
            clips = torch.cat([padded[:, :, at : at + length] for at in range(num_frames)], dim=1)
            weight = weight.transpose(1, 2)
        images = clips.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        convolved = nn.functional.conv2d(
            images, weight.flatten(1, 2), bias, self.stride[1:], self.padding[1:]
        )
        frames: Tensor = convolved.unflatten(0, (-1, clips.shape[2]))
        return frames.transpose(1, 2)


class _FoldedBatchNorm3d(nn.BatchNorm3d):
    """A batch norm that, out of training mode, leaves its work to the convolution before it."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Normalise (B, C, T, H, W) in training mode; else it is done already."""
        return super().forward(input) if self.training else input


def _scale_and_shift(norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """What a batch norm does to each channel with its running statistics: float, each (C,)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def work_in_place(network: nn.Module) -> None:
    """Let activations and residual sums overwrite their input, which nothing needs any more.

    Neither a convolution, a batch norm nor a sum keeps its output for the backward pass. It saves
    memory, and the time to fetch it.

    Args:
        network: one of pytorchvideo's SlowFast networks, changed in place.
    """
    module: Any
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
        if hasattr(module, "branch_fusion"):
            module.branch_fusion = _add_to_branch


def _add_to_branch(shortcut: Tensor, branch: Tensor) -> Tensor:
    """The sum of a residual block, each (B, C, T, H, W); the shortcut may be needed elsewhere."""
    return branch.add_(shortcut)
