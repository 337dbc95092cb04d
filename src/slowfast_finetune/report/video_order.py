"""Choose and order the test videos that are shown. Pure."""

from collections.abc import Sequence
from itertools import chain, zip_longest

from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.report.results import VideoResult

BARS = 4  # classes whose probabilities are shown


def probability_bars(video: VideoResult, class_names: Sequence[str]) -> list[tuple[str, float]]:
    """Return the most probable classes, and always the actual one, with their probabilities."""
    pairs = zip(class_names, video.probabilities, strict=True)
    falling = sorted(pairs, key=lambda pair: -pair[1])
    missing = [pair for pair in falling[BARS:] if pair[0] == video.row.actual]
    return falling[: BARS - len(missing)] + missing


def surest_mistakes(predictions: Sequence[VideoResult]) -> list[VideoResult]:
    """Return the wrong predictions, by falling confidence."""
    wrong = [video for video in predictions if not video.is_right]
    return sorted(wrong, key=lambda video: -video.row.confidence)


def least_certain(predictions: Sequence[VideoResult]) -> list[VideoResult]:
    """Sort all videos by rising confidence."""
    return sorted(predictions, key=lambda video: video.row.confidence)


def most_informative(predictions: Sequence[VideoResult]) -> list[VideoResult]:
    """Sort all videos by their value for a person who looks at them.

    First the wrong predictions, by falling confidence; then the correct ones, one of each class in
    turn, by rising confidence within the class.
    """
    right = (video for video in least_certain(predictions) if video.is_right)
    correct = grouped(right, key=lambda video: video.row.actual)
    in_turn = chain.from_iterable(zip_longest(*(correct[name] for name in sorted(correct))))
    return surest_mistakes(predictions) + [video for video in in_turn if video is not None]


def to_explain(predictions: Sequence[VideoResult], *, limit: int) -> list[VideoResult]:
    """Choose the predictions that Grad-CAM explains.

    Half are the wrong ones of highest confidence, half the correct one of highest confidence of
    each class; places that one kind does not need go to the other.
    """
    mistakes = surest_mistakes(predictions)
    best: dict[str, VideoResult] = {}
    for video in reversed(least_certain(predictions)):
        if video.is_right:
            best.setdefault(video.row.actual, video)
    hits = [best[name] for name in sorted(best)]
    num_mistakes = min(len(mistakes), max(limit // 2, limit - len(hits)))
    return mistakes[:num_mistakes] + hits[: limit - num_mistakes]
