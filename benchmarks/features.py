"""The feature store against the bare forward passes of its views, and the seconds of a head."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.comparison import in_turn, speed_ratio, timed
from benchmarks.evaluation import FORWARD, drawn_people, forward
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import quiet
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import ViewPlan
from slowfast_finetune.features.extraction import Backbone, features_of
from slowfast_finetune.features.feature_store import FOLDER, Features, feature_stores, key_of
from slowfast_finetune.features.logistic import fit_probe
from slowfast_finetune.model.checkpoint import load_checkpoint

STORE, ADDED = "the feature store, empty", "one video added"
NUM_CLASSES, NUM_FEATURES = 10, 2304  # features of R50
LATENT = 300  # what they are mixed of, so that they are correlated
APART = 0.2  # of the classes' centres, against a spread of 1: their videos overlap
SECONDS_FOR, SECONDS_ALLOWED = 10_000, 10.0


def run(*, videos: int, preset: str, heads: Sequence[int], rounds: int, out: Path) -> None:
    """Measure both, print tables, write features.json."""
    with tempfile.TemporaryDirectory(prefix="features-") as name:
        folder = Path(name)
        params, rows = drawn_people(folder, videos, preset=preset)
        rows = rows[:videos]  # people are drawn whole; the forward passes are of whole batches
        seconds = in_turn(
            {
                STORE: partial(_fill, folder, params, rows, known=0),
                FORWARD: partial(forward, folder, params, len(rows)),
                # A store whose folder is not emptied, and in which one is missing.
                ADDED: partial(_fill, folder, params, rows, known=len(rows) - 1),
            },
            rounds=rounds,
        )
    ratio = speed_ratio(seconds[STORE], seconds[FORWARD])
    lines = [
        [name, f"{min(each):.2f}", f"{len(rows) / min(each):.1f}" if name != ADDED else ""]
        for name, each in seconds.items()
    ]
    print(
        format_table([f"{len(rows)} videos, preset {preset}", "s", "features/s"], lines), end="\n\n"
    )
    fitted = {number: _fit(number) for number in heads}
    head_lines = [
        [f"{number:,}", f"{found['seconds']:.1f}", str(found["folds"]), f"{found['accuracy']:.3f}"]
        for number, found in fitted.items()
    ]
    print(format_table(["videos", "head [s]", "folds", "accuracy left out"], head_lines))
    targets = [Target(f"features/s, of {FORWARD}", 0.95, ratio.median)]
    if SECONDS_FOR in fitted:
        measured = fitted[SECONDS_FOR]["seconds"]
        name = f"seconds of a head on {SECONDS_FOR:,} videos"
        targets.append(Target(name, SECONDS_ALLOWED, measured, at_most=True))
    results = {
        "preset": preset,
        "videos": len(rows),
        "seconds": seconds,
        "ratio": asdict(ratio),
        "heads": fitted,
    }
    finish("features", out=out, results=results, targets=targets)


def _fill(folder: Path, params: Params, rows: Sequence[ClipRow], *, known: int) -> float:
    """Compute features, one view of each video, of which the store has the first ones."""
    checkpoint = load_checkpoint(folder / "best.pt")
    backbone = Backbone.of(checkpoint)
    if not known:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    for store, _ in feature_stores(folder):
        for row in rows[known:]:
            store.path(key_of(row)).unlink(missing_ok=True)
    with timed() as watch, quiet():
        features_of(
            rows,
            backbone,
            views=ViewPlan(),
            clips=ClipStore(folder, params.clip).folder,
            runtime=params.runtime,
        )
    return watch.seconds


def _fit(num_videos: int) -> dict[str, Any]:
    """Fit a probe to drawn features: all folds, penalties, calibration and neighbours."""
    features, labels = drawn_features(num_videos)
    rows = [
        ClipRow._make([None] * len(ClipRow._fields))._replace(
            video_path=str(number), class_name=str(label), label=label, content_hash=str(number)
        )
        for number, label in enumerate(labels.tolist())
    ]
    with timed() as watch:
        probe = fit_probe(rows, features, num_views=1, balanced=False, seed=0)
    best = probe.results[probe.best]
    return {
        "seconds": watch.seconds,
        "folds": probe.num_folds,
        "penalty": best.penalty,
        "accuracy": best.val["accuracy"],
    }


def drawn_features(
    num_videos: int, *, size: int = NUM_FEATURES
) -> tuple[Features, npt.NDArray[np.int64]]:
    """Features (N, 1, size), correlated and not negative, of classes that overlap; labels (N,)."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_videos, dtype=np.int64) % NUM_CLASSES
    # Few directions vary much, as in features of networks.
    scale = np.arange(1, LATENT + 1, dtype=np.float32) ** -0.5
    centres = APART * rng.standard_normal((NUM_CLASSES, LATENT), np.float32)
    latent = (centres[labels] + rng.standard_normal((num_videos, LATENT), np.float32)) * scale
    features = latent @ rng.standard_normal((LATENT, size), np.float32)
    features /= features[:1000].std()
    features += 0.3 * rng.standard_normal(features.shape, np.float32)
    return np.maximum(features - 0.3, 0, out=features)[:, None], labels
