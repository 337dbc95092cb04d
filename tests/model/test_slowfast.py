"""The model's contract with pytorchvideo."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from slowfast_finetune.model.slowfast import (
    ClipClassifier,
    block_of,
    build_slowfast,
    head_of,
    pack_pathways,
    replace_head,
)
from slowfast_finetune.model.speed import to_channels_last


@pytest.fixture(scope="module")
def shallow() -> nn.Module:
    torch.manual_seed(0)
    return build_slowfast("slowfast_shallow", num_classes=5).eval()


@pytest.mark.process
def test_building_a_network_imports_neither_torchvision_nor_the_compiler() -> None:
    code = """
import sys
from slowfast_finetune.model.slowfast import build_slowfast
build_slowfast("slowfast_shallow", num_classes=2)
assert not {"torchvision", "torchvision.ops", "torch._dynamo"} & set(sys.modules)
from slowfast_finetune.model.library_imports import import_torchvision
import_torchvision()
from torchvision.transforms import v2
from torchvision.ops import RoIAlign
print(v2.RandAugment.__module__, RoIAlign.__module__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "torchvision.transforms.v2._auto_augment",
        "torchvision.ops.roi_align",
    ]


def test_slow_pathway_takes_the_published_frames() -> None:
    clips = torch.arange(32.0).reshape(1, 1, 32, 1, 1)
    slow, fast = pack_pathways(clips)
    assert slow.flatten().tolist() == [0, 4, 8, 13, 17, 22, 26, 31]
    assert fast is clips


def test_pathways_are_a_new_list_each_time(shallow: nn.Module) -> None:
    """forward changes the list it is given; a second call must not see that."""
    clips = torch.rand(2, 3, 16, 64, 64)
    with torch.no_grad():
        first = shallow(pack_pathways(clips))
        second = shallow(pack_pathways(clips))
    assert torch.equal(first, second)


def test_classifier_normalises_with_the_published_mean_and_std(shallow: nn.Module) -> None:
    clips = torch.randint(0, 256, (2, 16, 64, 64, 3), dtype=torch.uint8)
    by_hand = (clips.permute(0, 4, 1, 2, 3) / 255.0 - 0.45) / 0.225
    with torch.no_grad():
        expected = shallow(pack_pathways(by_hand))
        given = ClipClassifier(shallow)(clips)
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)


def test_outputs_are_logits_in_training_and_evaluation(shallow: nn.Module) -> None:
    clips = torch.randint(0, 256, (2, 16, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        rows = ClipClassifier(shallow)(clips)
    assert rows.shape == (2, 5)
    assert not torch.allclose(rows.sum(dim=1), torch.ones(2)), "these look like probabilities"


@pytest.mark.parametrize(
    ("name", "features"),
    [("slowfast_r50", 2304), ("slowfast_shallow", 1152)],
)
def test_head_is_replaced_and_nothing_else(name: str, features: int) -> None:
    network = build_slowfast(name, num_classes=400)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    replace_head(network, num_classes=3)
    after = network.state_dict()
    assert (head_of(network).in_features, head_of(network).out_features) == (features, 3)
    changed = {key for key in before if before[key].shape != after[key].shape}
    assert changed == {"blocks.6.proj.weight", "blocks.6.proj.bias"}
    assert all(torch.equal(before[key], after[key]) for key in before.keys() - changed)


def test_block_of_a_parameter() -> None:
    network = build_slowfast("slowfast_shallow", num_classes=3)
    blocks = {name: block_of(name) for name, _ in network.named_parameters()}
    assert [name for name, block in blocks.items() if block == 6] == [
        "blocks.6.proj.weight",
        "blocks.6.proj.bias",
    ]
    assert set(blocks.values()) == {0, 1, 2, 3, 4, 6}, "block 5 pools and learns nothing"
    assert block_of("network.blocks.3.x.weight") == 3, "wherever the network hangs"


def test_strides_are_plain_integers_which_the_compiler_can_trace() -> None:
    network = build_slowfast("slowfast_r50", num_classes=2)
    strides = [module.stride for module in network.modules() if isinstance(module, nn.Conv3d)]
    # Of the 110 convolutions the 8 shortcuts of R50 have a stride that numpy computed.
    assert len(strides) == 110
    assert {type(number) for stride in strides for number in stride} == {int}


def test_channels_last_changes_strides_not_numbers(shallow: nn.Module) -> None:
    clips = torch.randint(0, 256, (1, 16, 64, 64, 3), dtype=torch.uint8)
    network = build_slowfast("slowfast_shallow", num_classes=5).eval()
    network.load_state_dict(shallow.state_dict())
    to_channels_last(network)
    stem = next(p for p in network.parameters() if p.ndim == 5)
    assert stem.is_contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        torch.testing.assert_close(
            ClipClassifier(network)(clips), ClipClassifier(shallow)(clips), rtol=1e-4, atol=1e-4
        )


def test_any_geometry_is_accepted(shallow: nn.Module) -> None:
    with torch.no_grad():
        assert ClipClassifier(shallow)(torch.zeros(1, 8, 96, 96, 3, dtype=torch.uint8)).shape == (
            1,
            5,
        )
