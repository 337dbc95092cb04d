"""Pure: test videos whose scene, by its still background, is in the training videos too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slowfast_finetune.inspection.findings import Finding, counted
from slowfast_finetune.inspection.looks import THUMBNAIL_SIDE, Look

# docs/doctor.md has the measurements these come from.
SAME_SCENE = 0.75  # correlation of two backgrounds
WINDOW = 5  # what is finer than this stays of a background [thumbnail px]
MIN_DETAIL = 3.0  # standard deviation below which a background shows nothing [levels]
NOTABLE = 0.05  # of the test videos
CHUNK = 2_000


def scene_findings(looks: Sequence[Look]) -> list[Finding]:
    """A warning where a good part of the test shows scenes that training shows too."""
    known = known_scenes(looks)
    num_test = sum(look.split == "test" for look in looks)
    if not known:
        return []
    groups = (
        "The groups do not keep cameras apart. "
        if any(look.group is not None for look in looks)
        else "No groups are set. "
    )
    is_notable = len(known) >= NOTABLE * num_test and len(known) > 1
    return [
        Finding(
            "warning" if is_notable else "note",
            "seen-scenes",
            f"the scene of {len(known):,} of {counted(num_test, 'test video')} is in train too",
            f"Going by their still backgrounds. {groups}A model may know the place in place of "
            "the action, and score lower on new places: set data.group_pattern, or write a "
            "groups.csv that names the camera or place of each video.",
            # Each beside the one it is like.
            tuple(path for pair in sorted(known.items()) for path in pair),
        )
    ]


def seen_scenes(looks: Sequence[Look]) -> set[str]:
    """Paths of the test videos whose background is that of some training video.

    A moving camera has no background that stays, and is not found.
    """
    return set(known_scenes(looks))


def known_scenes(looks: Sequence[Look]) -> dict[str, str]:
    """As :func:`seen_scenes`, each with the training video whose background is the most like."""
    trained = [look for look in looks if look.split == "train"]
    tested = [look for look in looks if look.split == "test"]
    train = _backgrounds(trained)
    found: dict[str, str] = {}
    for start in range(0, len(tested) if trained else 0, CHUNK):
        part = tested[start : start + CHUNK]
        alike = _backgrounds(part) @ train.T
        nearest = alike.argmax(axis=1).tolist()
        for row, column in enumerate(nearest):
            if alike[row, column] >= SAME_SCENE:
                found[part[row].video_path] = trained[column].video_path
    return found


def _backgrounds(looks: Sequence[Look]) -> npt.NDArray[np.float32]:
    """What stays over the frames of each video, without its coarse light and dark, float32 (N, D).

    Lines have length 1, so that their products are correlations; flat ones have length 0.
    """
    parts = [_some_backgrounds(looks[i : i + CHUNK]) for i in range(0, len(looks), CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, THUMBNAIL_SIDE**2), np.float32)


def _some_backgrounds(looks: Sequence[Look]) -> npt.NDArray[np.float32]:
    still = np.median(np.stack([look.thumbnails for look in looks]), axis=1).astype(np.float32)
    fine = still - _blurred(still)
    fine -= fine.mean(axis=(1, 2), keepdims=True)
    lines = fine.reshape(len(looks), -1)
    lengths = np.linalg.norm(lines, axis=1, keepdims=True)
    shows = lengths >= MIN_DETAIL * np.sqrt(lines.shape[1])
    return np.where(shows, lines / np.maximum(lengths, 1e-6), 0).astype(np.float32)


def _blurred(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean over a square window round each pixel, edges repeated, float32 (N, H, W)."""
    margin = WINDOW // 2
    padded = np.pad(pictures, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW), axis=(1, 2))
    return np.asarray(windows.mean(axis=(3, 4)), np.float32)
