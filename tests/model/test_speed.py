"""A folded batch norm computes what an unfolded one does, and learns the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from slowfast_finetune.model.slowfast import ClipClassifier, build_slowfast
from slowfast_finetune.model.speed import fold_batch_norm, to_channels_last, work_in_place

CLASSES = 3


def plain_network() -> nn.Module:
    """Random weights and statistics, the last batch norm of each block open."""
    torch.manual_seed(0)
    network = build_slowfast("slowfast_shallow", num_classes=CLASSES, dropout_rate=0.0)
    for norm in norms_of(network):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.normal_(norm.running_mean, std=0.2)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    to_channels_last(network)
    return network


def norms_of(network: nn.Module) -> list[nn.BatchNorm3d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]


def frozen(network: nn.Module) -> nn.Module:
    """In training mode, but for the statistics."""
    network.train()
    for norm in norms_of(network):
        norm.eval()
    return network


def both(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The network as it was, and folded."""
    changed = copy.deepcopy(network)
    fold_batch_norm(changed)
    work_in_place(changed)
    return network, changed


@pytest.fixture
def clips() -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (4, 8, 64, 64, 3), dtype=torch.uint8)


def learn(network: nn.Module, clips: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradient of every parameter."""
    logits = ClipClassifier(network)(clips)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    return logits.detach(), {name: p.grad for name, p in network.named_parameters()}  # type: ignore[misc]


def test_outputs_are_equal_in_evaluation(clips: Tensor) -> None:
    plain, changed = both(plain_network().eval())
    with torch.no_grad():
        torch.testing.assert_close(
            ClipClassifier(changed)(clips), ClipClassifier(plain)(clips), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    "mode", [frozen, nn.Module.train], ids=["statistics frozen", "statistics of the batch"]
)
def test_outputs_gradients_and_statistics_are_equal_in_training(
    mode: Callable[[nn.Module], nn.Module], clips: Tensor
) -> None:
    plain, changed = both(mode(plain_network()))
    expected, expected_gradients = learn(plain, clips)
    logits, gradients = learn(changed, clips)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        # Sums over many positions in another order: measured by the size of the whole tensor.
        error = (gradient - expected_gradients[name]).norm() / expected_gradients[name].norm()
        assert error < 1e-4, name
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(changed.state_dict()[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_bf16_is_as_close_to_fp32_as_without_folding(clips: Tensor) -> None:
    clips = clips[:1]  # on a processor without bf16 it is slow
    plain, changed = both(plain_network().eval())
    with torch.no_grad():
        exact = ClipClassifier(plain)(clips)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            expected, given = ClipClassifier(plain)(clips), ClipClassifier(changed)(clips)
    assert (given - exact).norm() < 2 * (expected - exact).norm() + 1e-3


@pytest.mark.parametrize(("kernel", "num_frames"), [(3, 2), (5, 3), (5, 4), (7, 4)])
def test_bf16_gradients_do_not_depend_on_what_memory_held(kernel: int, num_frames: int) -> None:
    parent = nn.Module()
    parent.conv = nn.Conv3d(64, 32, (kernel, 1, 1), padding=(kernel // 2, 0, 0), bias=False)
    parent.norm = nn.BatchNorm3d(32)
    fold_batch_norm(parent)
    clips = torch.ones(8, 64, num_frames, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = parent.conv(clips)
    for size in (10**3, 10**4, 10**5, 10**6, 5 * 10**6):
        # Freed at once, so that the backward pass gets memory full of NaN.
        del [torch.full((size,), torch.nan) for _ in range(20)][:]
    output.sum().backward()
    # Of a sum over ones: how often each tap of the kernel lies on a frame.
    taps = [num_frames - abs(tap - kernel // 2) for tap in range(kernel)]
    expected = torch.tensor(taps).clamp(min=0) * 8.0 * 6 * 6
    assert torch.equal(parent.conv.weight.grad[:, :, :, 0, 0], expected.expand(32, 64, kernel))


def test_every_batch_norm_is_folded() -> None:
    _, changed = both(plain_network().eval())
    called = []
    for norm in norms_of(changed):
        norm.register_forward_hook(lambda _, given, output: called.append(output is given[0]))
    with torch.no_grad():
        ClipClassifier(changed)(torch.zeros(1, 8, 64, 64, 3, dtype=torch.uint8))
    assert called == [True] * len(norms_of(changed))


def test_names_and_a_second_call() -> None:
    plain, changed = both(plain_network())
    fold_batch_norm(changed)
    assert list(changed.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in changed.named_parameters()] == [
        name for name, _ in plain.named_parameters()
    ]
    changed.load_state_dict(plain.state_dict(), strict=True)


def test_a_deep_copy_is_independent(clips: Tensor) -> None:
    _, changed = both(plain_network().eval())
    twin = copy.deepcopy(changed)
    with torch.no_grad():
        before = ClipClassifier(twin)(clips)
        for norm in norms_of(changed):
            norm.weight.zero_()
        torch.testing.assert_close(ClipClassifier(twin)(clips), before, rtol=0, atol=0)
        assert not torch.allclose(ClipClassifier(changed)(clips), before)
