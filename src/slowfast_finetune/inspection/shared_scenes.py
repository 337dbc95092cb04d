"""Find test videos whose still background also appears in training videos. Pure."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.manifest_table import case_noun
from slowfast_finetune.inspection.findings import Finding, make_finding
from slowfast_finetune.inspection.video_summary import THUMBNAIL_SIDE, VideoSummary

# Chosen on the two collections of docs/doctor.md, "Scenes".
SAME_SCENE = 0.75  # correlation of two backgrounds
WINDOW = 5  # of the mean that is subtracted, to keep only finer detail [thumbnail px]
MIN_DETAIL = 3.0  # standard deviation below which a background is blank [grey levels]
BLACK, FLAT = 24.0, 4.0  # largest mean and standard deviation of a line of a black bar [levels]
MIN_SHOWN = 100  # pixels between black bars, of 576; fewer are alike by chance
NOTABLE = 0.05  # share of the test videos from which the finding is a warning
CHUNK = 500  # training videos compared at once, to bound the memory


def scene_findings(videos: Sequence[VideoSummary]) -> Iterator[Finding]:
    """Warn if a notable part of the test videos shows scenes that were trained on."""
    known = seen_scenes(videos)
    num_test = sum(video.split == "test" for video in videos)
    if known:
        yield make_finding(
            "seen-scenes",
            "warning" if len(known) >= NOTABLE * num_test and len(known) > 1 else "note",
            # Each test video is followed by the training video it matches.
            [path for pair in sorted(known.items()) for path in pair],
            known=len(known),
            total=num_test,
            noun=case_noun(videos),
            grouped=any(video.group is not None for video in videos),
        )


def seen_scenes(videos: Sequence[VideoSummary]) -> dict[str, str]:
    """Map each test video that shares a background with training videos to the best match.

    Scenes of a moving camera have no still background and are not found.
    """
    trained = [video for video in videos if video.split == "train"]
    tested = [video for video in videos if video.split == "test"]
    test = _backgrounds(tested)
    highest, nearest = np.zeros(len(tested), np.float32), np.zeros(len(tested), np.int64)
    for start in range(0, len(trained), CHUNK):
        alike = test @ _backgrounds(trained[start : start + CHUNK]).T
        best = alike.max(axis=1, initial=0)
        closer = best > highest
        highest[closer], nearest[closer] = best[closer], start + alike[closer].argmax(axis=1)
    return {
        tested[row].case: trained[nearest[row]].case
        for row in np.flatnonzero(highest >= SAME_SCENE)
    }


def _backgrounds(videos: Sequence[VideoSummary]) -> npt.NDArray[np.float32]:
    """Compute the still background of each video without coarse brightness, float32 (N, D).

    Rows have norm 1, so that their products are correlations; rows of blank backgrounds are 0.
    """
    parts = [_some_backgrounds(videos[i : i + CHUNK]) for i in range(0, len(videos), CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, THUMBNAIL_SIDE**2), np.float32)


def _some_backgrounds(videos: Sequence[VideoSummary]) -> npt.NDArray[np.float32]:
    from scipy.ndimage import uniform_filter

    still = np.median(np.stack([video.thumbnails for video in videos]), axis=1).astype(np.float32)
    # The edge of a black bar is strong, and the same in all letterboxed videos.
    shown = _without_bars(still).astype(np.float32)
    # The mean over what is shown of a square window around each pixel, edges repeated.
    around, share = (
        uniform_filter(values, size=(1, WINDOW, WINDOW), mode="nearest")
        for values in (still * shown, shown)
    )
    fine = (still - around / np.maximum(share, 1e-6)) * shown
    num_shown = np.maximum(shown.sum(axis=(1, 2), keepdims=True), 1)
    fine -= fine.sum(axis=(1, 2), keepdims=True) / num_shown * shown
    lines = fine.reshape(len(videos), -1)
    lengths = np.linalg.norm(lines, axis=1, keepdims=True)
    has_detail = lengths >= MIN_DETAIL * np.sqrt(num_shown[:, 0])
    tells = has_detail & (num_shown[:, 0] >= MIN_SHOWN)
    return np.where(tells, lines / np.maximum(lengths, 1e-6), 0).astype(np.float32)


def _without_bars(still: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Say which pixels of backgrounds (N, H, W) lie between the black bars at their edges."""
    rows, columns = (
        _between_bars((still.mean(axis=across) > BLACK) | (still.std(axis=across) > FLAT))
        for across in (2, 1)
    )
    return rows[:, :, None] & columns[:, None, :]


def _between_bars(shows: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark the lines between the first and the last that shows something, bool (N, lines)."""

    def after_bar(shows: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        reached = np.logical_or.accumulate(shows, axis=1)
        # The line beside a bar is mixed with it.
        return np.concatenate([reached[:, :1], reached[:, :-1]], axis=1)

    return after_bar(shows) & after_bar(shows[:, ::-1])[:, ::-1]
