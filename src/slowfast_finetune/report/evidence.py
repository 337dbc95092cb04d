"""Explain some predictions by Grad-CAM, in pictures for the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from slowfast_finetune.base.console import progress
from slowfast_finetune.base.errors import CheckpointError
from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.clips.clip_reader import ClipReader
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import plan_views
from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from, load_checkpoint
from slowfast_finetune.model.device import choose_device
from slowfast_finetune.pictures import grad_cam
from slowfast_finetune.pictures.contact_sheets import Frames, data_uri, evenly_spaced, tiled_jpeg
from slowfast_finetune.report.results import Results, VideoResult
from slowfast_finetune.report.video_order import to_explain

MAX_CLIPS = 12  # each takes the time of two predictions
STRIDE = 32  # of the model's last stage, in pixels of the clip
NUM_FRAMES = 8
COLUMNS = 4
HEIGHT = 112  # of a frame [px]
MAX_BYTES = 1_500_000  # of all pictures on the page [bytes]
QUALITIES = (80, 65, 50, 35, 20, 10)  # of the JPEGs; the first that fits is used


@dataclass(frozen=True)
class Evidence:
    """The Grad-CAM section of the page."""

    # Predictions, each with the data URIs of its pictures: slow pathway, fast pathway.
    items: Sequence[tuple[VideoResult, str, str]] = ()
    cells: int = 0  # width of the maps before they are stretched over the frame
    note: str = ""  # why there are no items


def gather_evidence(
    results: Results, *, checkpoint_path: Path, runtime: RuntimeParams, store: ClipStore
) -> Evidence:
    """Explain some predictions by Grad-CAM, on the middle clip of each video.

    Raises:
        CheckpointError: the checkpoint cannot be used, or lacks a class that was predicted.
        DataError: a clip is missing.
    """

    if not grad_cam.is_installed():
        return Evidence(note=f"Grad-CAM needs captum: {grad_cam.HOW_TO_INSTALL}")

    chosen = to_explain(results.predictions, limit=MAX_CLIPS)
    rows = [results.clip_of[video.row.case] for video in chosen]
    checkpoint = load_checkpoint(checkpoint_path)
    if unknown := {video.row.predicted for video in chosen} - set(checkpoint.class_names):
        raise CheckpointError(f"{checkpoint_path}: has no class {min(unknown)}; run `dvc repro`")
    pictures = _heat_maps(rows, chosen, checkpoint, device=choose_device(runtime), store=store)
    for quality in QUALITIES:
        uris = [
            data_uri(tiled_jpeg(picture, columns=COLUMNS, height=HEIGHT, quality=quality))
            for picture in pictures
        ]
        if sum(map(len, uris)) <= MAX_BYTES:
            break
    return Evidence(
        items=list(zip(chosen, uris[::2], uris[1::2], strict=True)),
        cells=math.ceil(checkpoint.preprocessing.crop_size / STRIDE),
    )


def _heat_maps(
    rows: Sequence[ClipRow],
    chosen: Sequence[VideoResult],
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    store: ClipStore,
) -> list[Frames]:
    """Lay the heat map over some frames of each video: slow pathway, fast pathway, in turn."""

    classifier = classifier_from(checkpoint).to(device)
    shape = checkpoint.preprocessing
    reader = ClipReader(rows, folder=store.folder, shape=shape)
    windows = plan_views(rows, shape)
    pictures = []
    for window, video in zip(
        progress(windows, total=len(windows), label="explaining"), chosen, strict=True
    ):
        clip = reader.gather([window]).clips.to(device)
        label = checkpoint.class_names.index(video.row.predicted)
        maps = grad_cam.explain(classifier, clip, label=label)
        frames = clip[0].cpu().numpy()
        shown = evenly_spaced(len(frames), NUM_FRAMES)
        pictures += [grad_cam.overlay(frames[shown], m[shown]) for m in (maps.slow, maps.fast)]
    return pictures
