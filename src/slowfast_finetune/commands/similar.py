"""``slowfast similar``: the videos of the set that are nearest to a video."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_finetune.base.console import printable, say

if TYPE_CHECKING:
    from slowfast_finetune.clips.clip_tables import ClipRow
    from slowfast_finetune.features.feature_store import Features
    from slowfast_finetune.model.checkpoint import Checkpoint


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    similar = commands.add_parser(
        "similar",
        help="the videos of the set that are nearest to a video",
        description="List the videos of data/clips.csv whose features are nearest to those of a "
        "video: cosine similarity of the means over the views, class, split and path, the most "
        "similar first. Uses what the feature store has of the checkpoint's features.",
    )
    similar.add_argument("video", type=Path, metavar="VIDEO", help="any video")
    similar.add_argument("-k", type=int, default=5, metavar="N", help="how many [%(default)s]")
    similar.add_argument(
        "--checkpoint", type=Path, default=Path("models/best.pt"), metavar="FILE",
        help="[%(default)s]",
    )  # fmt: skip
    similar.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="[%(default)s]"
    )
    similar.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> None:
    from slowfast_finetune.base.errors import DataError
    from slowfast_finetune.base.store_location import store_root
    from slowfast_finetune.clips.clip_tables import CLIPS
    from slowfast_finetune.features.likeness import nearest
    from slowfast_finetune.model.checkpoint import load_checkpoint
    from slowfast_finetune.predicting.predictor import load_model

    if args.k < 1:
        raise DataError(f"-k {args.k}: must be 1 or more")
    rows = CLIPS.read_rows(Path("data/clips.csv"))
    checkpoint = load_checkpoint(args.checkpoint)
    kept, features = stored_features(rows, checkpoint=checkpoint, root=store_root(Path.cwd()))
    if not kept:
        raise DataError(
            f"the feature store has no features by {args.checkpoint} of videos of data/clips.csv; "
            "those of a probe are made by `slowfast crossval`, those of a fine-tuned model "
            f"by `slowfast crossval --results FOLDER` with model.weights: {args.checkpoint}"
        )
    if len(kept) < len(rows):
        say(
            f"{len(kept)} of {len(rows)} videos have stored features; `slowfast crossval` makes "
            "the others"
        )
    given = load_model(args.checkpoint, device=args.device).features(args.video).values
    positions, cosines = nearest(given.mean(axis=0, keepdims=True), features, k=args.k)
    for position, cosine in zip(positions[0].tolist(), cosines[0].tolist(), strict=True):
        row = kept[position]
        say(f"{cosine:.3f}  {row.class_name}  {row.split}  {printable(row.case)}")


def stored_features(
    rows: Sequence[ClipRow], *, checkpoint: Checkpoint, root: Path
) -> tuple[list[ClipRow], Features]:
    """Read the checkpoint's features of these rows, from the feature store that has most of them.

    Args:
        root: the folder of the clip stores.

    Returns:
        The rows that it has, and the mean of their views that are not mirrored, float32 (N, D).

    Raises:
        EntryError: a file is damaged.
    """
    import numpy as np

    from slowfast_finetune.features.extraction import weights_digest
    from slowfast_finetune.features.feature_store import feature_stores, key_of
    from slowfast_finetune.model.checkpoint import classifier_from

    shape = checkpoint.preprocessing
    digest = weights_digest(classifier_from(checkpoint).network)
    wanted = (checkpoint.model_name, digest, shape.num_frames, shape.crop_size)
    best: list[ClipRow] = []
    means = np.zeros((0, 0), np.float32)
    for store, settings in feature_stores(root):
        if settings is None or wanted != (
            settings.model, settings.weights, settings.num_frames, settings.crop_size
        ):  # fmt: skip
            continue
        keys = store.keys()
        kept = [row for row in rows if row.settings == settings.clips and key_of(row) in keys]
        if len(kept) > len(best):
            views = settings.temporal_views * settings.spatial_crops
            best = kept
            means = np.stack([store.read(key_of(row))[:views].mean(axis=0) for row in kept])
    return best, means
