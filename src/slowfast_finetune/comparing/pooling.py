"""Pool the predictions of the folds of a k-fold, in which every video is tested once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.tables import csv_text
from slowfast_finetune.comparing.comparison import accuracy_interval
from slowfast_finetune.comparing.sources import check_same_classes, read_predictions
from slowfast_finetune.evaluation.predictions_table import Predictions
from slowfast_finetune.evaluation.resampling import Interval


@dataclass(frozen=True)
class Pooled:
    """The predictions of all folds.

    Attributes:
        folds: of each fold.
        together: of all.
        accuracy, interval: top-1 accuracy of all and its 95 % confidence interval.
        text: predictions.csv with the rows of all, in the order of the folds.
    """

    folds: tuple[Predictions, ...]
    together: Predictions
    accuracy: float
    interval: Interval
    text: str


def pool(sources: Sequence[str], *, name: str = "together") -> Pooled:
    """Read the predictions of each fold (file or revision) and pool them.

    Raises:
        DataError: one cannot be read, the classes differ, or a video or group is in two folds.
    """
    import pandas as pd

    folds = [read_predictions(source) for source in sources]
    check_same_classes(folds)
    _check_nothing_is_in_two(folds)
    first = folds[0]
    for fold in folds:
        if list(fold.frame.columns) != list(first.frame.columns):
            raise DataError(f"{fold.source}: has other columns than {first.source}")
    frame = pd.concat([fold.frame for fold in folds], ignore_index=True)
    together = Predictions(name, first.class_names, frame)
    cells = frame.astype(object).where(frame.notna(), None)
    return Pooled(
        folds=tuple(folds),
        together=together,
        accuracy=_accuracy(together),
        interval=accuracy_interval(together),
        text=csv_text([list(frame.columns), *cells.itertuples(index=False, name=None)]),
    )


def _check_nothing_is_in_two(folds: Sequence[Predictions]) -> None:
    for kind, column in (("video", "video_path"), ("group", "group")):
        seen: dict[str, str] = {}
        for fold in folds:
            for name in sorted(fold.frame[column].dropna().unique()):
                if name in seen:
                    raise DataError(
                        f"{kind} {name!r} is in {seen[name]} and in {fold.source}: these are not "
                        "folds of one k-fold; same data.num_folds and data.split_seed?"
                    )
                seen[name] = fold.source


def _accuracy(run: Predictions) -> float:
    return float((run.actual == run.predicted).mean())


def describe(pooled: Pooled) -> str:
    """Format each fold's accuracy, and that of all with its confidence interval."""
    together = pooled.together
    width = max(len(run.source) for run in (*pooled.folds, together))
    lines = [f"{'':{width}}  videos  top-1 accuracy"]
    lines += [
        f"{run.source:{width}}  {len(run.frame):6}  {_accuracy(run):14.3f}"
        for run in (*pooled.folds, together)
    ]
    low, high = pooled.interval
    return "\n".join(lines) + f" [{low:.3f}, {high:.3f}]"
