"""The folds of a k-fold as one measurement, in which every video is tested once."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.comparing.answers import (
    Answers,
    check_same_classes,
    parse_answers,
    read_predictions_text,
)
from slowfast_finetune.comparing.compare import accuracy_interval
from slowfast_finetune.evaluation.resampling import Interval


@dataclass(frozen=True)
class Pooled:
    """All folds together.

    Attributes:
        folds: each fold's answers.
        together: all of them; accuracy with its 95 % interval over groups (videos without one).
        text: of a predictions.csv with the rows of all, in the order given.
    """

    folds: tuple[Answers, ...]
    together: Answers
    accuracy: float
    interval: Interval
    text: str


def pool(sources: Sequence[str], *, name: str = "together") -> Pooled:
    """Read the predictions of each fold (file or revision) and put them together.

    Raises:
        DataError: one cannot be read, the classes differ, or a video or group is in two of them,
            which folds of one k-fold never are.
    """
    texts = [read_predictions_text(source) for source in sources]
    folds = [parse_answers(text, source=s) for text, s in zip(texts, sources, strict=True)]
    check_same_classes(folds)
    _check_nothing_is_in_two(folds)
    text = _join(texts, sources)
    together = parse_answers(text, source=name)
    return Pooled(
        folds=tuple(folds),
        together=together,
        accuracy=_accuracy(together),
        interval=accuracy_interval(together),
        text=text,
    )


def _check_nothing_is_in_two(folds: Sequence[Answers]) -> None:
    for kind in ("video", "group"):
        seen: dict[str, str] = {}
        for fold in folds:
            names = fold.video_paths if kind == "video" else fold.groups
            for name in sorted({name for name in names if name is not None}):
                if name in seen:
                    raise DataError(
                        f"{kind} {name!r} is in {seen[name]} and in {fold.source}: these are not "
                        "folds of one k-fold; same data.num_folds and data.split_seed?"
                    )
                seen[name] = fold.source


def _join(texts: Sequence[str], sources: Sequence[str]) -> str:
    joined = io.StringIO(newline="")
    writer = csv.writer(joined, lineterminator="\n")
    tables = [list(csv.reader(io.StringIO(text, newline=""))) for text in texts]
    for table, source in zip(tables, sources, strict=True):
        if table[0] != tables[0][0]:
            raise DataError(f"{source}: has other columns than {sources[0]}")
    writer.writerow(tables[0][0])
    for table in tables:
        writer.writerows(table[1:])
    return joined.getvalue()


def _accuracy(answers: Answers) -> float:
    return float((answers.actual == answers.predicted).mean())


def describe(pooled: Pooled) -> str:
    """Each fold's accuracy, then that of all with its interval."""
    together = pooled.together
    width = max(len(answers.source) for answers in (*pooled.folds, together))
    lines = [f"{'':{width}}  videos  top-1 accuracy"]
    lines += [
        f"{answers.source:{width}}  {len(answers.actual):6}  {_accuracy(answers):14.3f}"
        for answers in (*pooled.folds, together)
    ]
    low, high = pooled.interval
    return "\n".join(lines) + f" [{low:.3f}, {high:.3f}]"
