"""Which answers are explained on the page, and the pictures that explain them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.inspection.readable import shortened
from slowfast_finetune.pictures.contact_sheets import data_uri, evenly_spaced, tiled_jpeg
from slowfast_finetune.report.cards import to_explain
from slowfast_finetune.report.results import VideoResult

if TYPE_CHECKING:
    import torch

    from slowfast_finetune.model.checkpoint import Checkpoint

Maps = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]

MAX_CLIPS = 12  # each takes two predictions' time
NUM_FRAMES = 8
COLUMNS = 4
HEIGHT = 112  # of a frame [px]
EVIDENCE_BUDGET = 1_500_000  # of all pictures on the page [bytes]
QUALITIES = (80, 65, 50, 35, 20, 10)  # of the JPEGs, tried in this order until they fit


@dataclass(frozen=True)
class EvidenceItem:
    """A clip and the addresses of its two pictures."""

    path: str
    name: str
    actual: str
    predicted: str
    is_right: bool
    confidence: float
    slow: str
    fast: str


@dataclass(frozen=True)
class Evidence:
    """The Grad-CAM section: its clips, how coarse the maps are, and why there are none."""

    items: Sequence[EvidenceItem] = ()
    grid: str = ""
    note: str = ""


def gather_evidence(
    predictions: Sequence[VideoResult],
    test_rows: Sequence[ClipRow],
    *,
    checkpoint_path: Path,
    runtime: RuntimeParams,
    store: ClipStore,
) -> Evidence:
    """Explain the answers of some test videos, on the middle clip of each.

    Raises:
        CheckpointError: the checkpoint cannot be used, or lacks a class that was answered.
        DataError: a clip has gone.
    """
    from slowfast_finetune.pictures import grad_cam

    if not grad_cam.is_installed():
        return Evidence(note=f"Grad-CAM needs captum: {grad_cam.HOW_TO_INSTALL}")
    from slowfast_finetune.model.checkpoint import load_checkpoint
    from slowfast_finetune.model.device import choose_device

    by_path = {row.video_path: row for row in test_rows}
    chosen = to_explain(predictions, limit=MAX_CLIPS)
    rows = [by_path[prediction.row.video_path] for prediction in chosen]
    checkpoint = load_checkpoint(checkpoint_path)
    answered = {prediction.row.predicted for prediction in chosen}
    if unknown := answered - set(checkpoint.class_names):
        raise CheckpointError(f"{checkpoint_path}: knows no {min(unknown)}; run `dvc repro`")
    pairs = _heat(rows, chosen, checkpoint, device=choose_device(runtime), store=store)
    pictures = _within_budget([picture for pair in pairs for picture in pair])
    return Evidence(
        items=[
            _item(prediction, pictures[2 * index], pictures[2 * index + 1])
            for index, prediction in enumerate(chosen)
        ],
        grid=f"A map is about {_cells(checkpoint.preprocessing.crop_size)} places wide, "
        "stretched over the frame.",
    )


def _heat(
    rows: Sequence[ClipRow],
    chosen: Sequence[VideoResult],
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    store: ClipStore,
) -> list[tuple[Frames, Frames]]:
    """Some frames of each video under the heat of its answer: slow pathway, fast pathway."""
    from slowfast_finetune.base.console import progress
    from slowfast_finetune.clips.clip_reader import ClipReader
    from slowfast_finetune.clips.windows import plan_views
    from slowfast_finetune.model.checkpoint import classifier_from
    from slowfast_finetune.pictures import grad_cam

    classifier = classifier_from(checkpoint).to(device)
    shape = checkpoint.preprocessing
    reader = ClipReader(
        rows, folder=store.folder, num_frames=shape.num_frames, crop_size=shape.crop_size
    )
    windows = plan_views(rows, num_frames=shape.num_frames, crop_size=shape.crop_size)
    pairs = []
    for window, prediction in zip(
        progress(windows, total=len(windows), label="explaining"), chosen, strict=True
    ):
        clip = reader.gather([window]).clips.to(device)
        label = checkpoint.class_names.index(prediction.row.predicted)
        maps = grad_cam.explain(classifier, clip, label=label)
        frames = clip[0].cpu().numpy()
        shown = evenly_spaced(len(frames), NUM_FRAMES)
        slow, fast = (
            grad_cam.overlay(frames[shown], pathway[shown]) for pathway in (maps.slow, maps.fast)
        )
        pairs.append((slow, fast))
    return pairs


def _cells(crop_size: int) -> int:
    return -(-crop_size // 32)  # the last stage has a 32nd of the width


def _within_budget(pictures: Sequence[Frames]) -> list[bytes]:
    for quality in QUALITIES:
        made = [
            tiled_jpeg(picture, columns=COLUMNS, height=HEIGHT, quality=quality)
            for picture in pictures
        ]
        if sum(len(data_uri(jpeg)) for jpeg in made) <= EVIDENCE_BUDGET:
            break
    return made


def _item(prediction: VideoResult, slow: bytes, fast: bytes) -> EvidenceItem:
    row = prediction.row
    return EvidenceItem(
        path=shortened(row.video_path),
        name=shortened("/".join(row.video_path.split("/")[-2:]), limit=80),
        actual=row.actual,
        predicted=row.predicted,
        is_right=prediction.is_right,
        confidence=row.confidence,
        slow=data_uri(slow),
        fast=data_uri(fast),
    )
