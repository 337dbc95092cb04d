"""The files of ``slowfast crossval`` in metrics/, which the report shows where they are."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.tables import SHARE, Table
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.comparing.comparison import compare
from slowfast_finetune.comparing.sources import read_predictions
from slowfast_finetune.evaluation import result_tables as tables
from slowfast_finetune.evaluation.resampling import Interval, interval_of_accuracy

FORMAT_VERSION = 1
PREDICTIONS_NAME, CURVE_NAME, SUMMARY_NAME = "crossval.csv", "learning_curve.csv", "crossval.json"


class CurveRow(NamedTuple):
    """One share of the training groups."""

    share: Annotated[float, "of the groups of the training folds (of videos without groups)", SHARE]
    num_videos: Annotated[float, "mean number of videos that the heads were fitted to"]
    accuracy: Annotated[float, "share of all videos classified right, mean of the draws", SHARE]
    low: Annotated[float, "lower limit of its 95 % confidence interval, mean of the draws", SHARE]
    high: Annotated[float, "upper limit of its 95 % confidence interval, mean of the draws", SHARE]


CURVE = Table(f"metrics/{CURVE_NAME}", CurveRow, version=1)


@dataclass(frozen=True)
class CrossvalResults:
    """What a cross-validation by probes has found."""

    predictions: tables.Predictions  # of every video
    curve: Sequence[CurveRow]  # accuracy by the number of training videos
    model: str  # the network and ``model.weights``
    more_videos: str  # a sentence on what more videos would do; a further line is a warning

    def accuracy(self) -> tuple[float, Interval]:
        """The share of the videos that is classified right, and its 95 % confidence interval."""
        right = self.predictions.actual == self.predictions.predicted
        return float(right.mean()), interval_of_accuracy(right, self.predictions.units)

    def fine_tuning(self, run: tables.Predictions) -> str:
        """Say by how much a fine-tuned model exceeds the probes on the test videos of its run.

        Raises:
            DataError: the videos or classes differ.
        """
        everything = self.predictions
        inside = tables.cases_of(everything.frame).isin(tables.cases_of(run.frame))
        frame = everything.frame[inside].reset_index(drop=True)
        found = compare(replace(everything, frame=frame), run)
        top1 = found.differences[0]
        videos = count(found.num_videos, f"test {found.noun}")
        ends = (
            f" (95 % confidence interval {top1.low:+.3f} to {top1.high:+.3f})"
            if top1.interval
            else ""
        )
        nothing = "" if top1.difference > 0 else "nothing: "
        return (
            f"On the same {videos} fine-tuning adds {nothing}"
            f"{top1.difference:+.3f}{ends} to the accuracy of the probe, {top1.a:.3f}"
            + ("." if found.is_significant else ", which may be chance.")
        )


def write_crossval(folder: Path, found: CrossvalResults, clips: Sequence[ClipRow]) -> list[Path]:
    """Write the three files, the summary last; their paths.

    Args:
        clips: all videos that were tested.
    """
    paths = [folder / name for name in (PREDICTIONS_NAME, CURVE_NAME, SUMMARY_NAME)]
    predictions = found.predictions
    paths[-1].unlink(missing_ok=True)  # files of two runs are never taken for those of one
    tables.PREDICTIONS.write(
        paths[0],
        tables.PREDICTIONS.rows(predictions.frame),
        class_names=predictions.class_names,
        class_values=np.round(predictions.probabilities, tables.PROBABILITY_DIGITS),
    )
    CURVE.write(paths[1], found.curve)
    summary = {
        "format_version": FORMAT_VERSION,
        "model": found.model,
        "videos": _digest(clips),
        "more_videos": found.more_videos,
    }
    write_text(paths[2], json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return paths


def read_crossval(folder: Path, clips: Sequence[ClipRow]) -> CrossvalResults | None:
    """Read what :func:`write_crossval` wrote; None where there is no summary.

    Raises:
        DataError: a file is missing or damaged, or it was made from other videos than these.
    """
    path = folder / SUMMARY_NAME
    if not path.is_file():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        version, videos = summary["format_version"], summary["videos"]
        model, more_videos = str(summary["model"]), str(summary["more_videos"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: cannot be read: {error!r}") from error
    if version != FORMAT_VERSION:
        raise DataError(f"{path}: has version {version}, not {FORMAT_VERSION}")
    if videos != _digest(clips):
        raise DataError(f"{path}: is of other videos, classes, groups or clips than the run")
    predictions = folder / PREDICTIONS_NAME
    if not predictions.is_file():
        raise DataError(f"{predictions}: is missing")
    curve = CURVE.read_rows(folder / CURVE_NAME)
    if not curve:
        raise DataError(f"{folder / CURVE_NAME}: has no rows")
    return CrossvalResults(read_predictions(str(predictions)), curve, model, more_videos)


def _digest(clips: Sequence[ClipRow]) -> str:
    """BLAKE2b over name, content, class, group and clip settings of each video, not its split."""
    values = sorted(
        [row.case, row.content_hash, row.class_name, row.group or "", row.settings] for row in clips
    )
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()
