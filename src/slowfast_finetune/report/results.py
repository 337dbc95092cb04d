"""Read the results of a run from the files of the stages, and check that they agree."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import read_errors
from slowfast_finetune.base.manifest_table import case_noun, unit_noun
from slowfast_finetune.base.tables import RowT, Table
from slowfast_finetune.clips.clip_tables import CLIPS, REJECTED, ClipRow, RejectedRow
from slowfast_finetune.comparing.crossval_files import SUMMARY_NAME, CrossvalResults, read_crossval
from slowfast_finetune.evaluation import result_tables as tables
from slowfast_finetune.scoring.novelty import FAMILIAR
from slowfast_finetune.timelines import timeline_tables
from slowfast_finetune.training.history import HISTORY, EpochRow

ROUNDING = 1e-4  # of a score in scores.csv
TRAINED_WITH = ("clip", "model", "train", "augment")  # sections on which the train stage depends


@dataclass(frozen=True)
class VideoResult:
    """A test video and its prediction; ``probabilities`` are by label."""

    row: tables.PredictionRow
    probabilities: tuple[float, ...]

    @property
    def is_right(self) -> bool:
        """Tells whether the predicted class is the actual one."""
        return self.row.predicted == self.row.actual

    @property
    def is_unlike(self) -> bool:
        """Tells whether the video is unlike the training videos."""
        return self.row.novelty is not None and self.row.novelty > FAMILIAR


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % confidence interval, if it has one."""

    value: float
    low: float | None = None
    high: float | None = None


Scores = Mapping[str, Estimate]


@dataclass(frozen=True)
class ResultFiles:
    """The files that the report is made from."""

    folder: Path  # metrics/, with the tables of results
    params: Path
    clips: Path
    rejected: Path
    checkpoint: Path

    def rows(self, table: Table[RowT]) -> list[RowT]:
        """The rows of a table of results; raises as :meth:`Table.read`."""
        return table.read_rows(table.within(self.folder))


@dataclass(frozen=True)
class Results:
    """The results of a run."""

    class_names: tuple[str, ...]  # by label
    scores: Scores
    subsets: Sequence[tables.SubsetRow]
    predictions: Sequence[VideoResult]
    confusion: Sequence[tables.ConfusionRow]
    classes: Sequence[tables.ClassRow]
    reliability: Sequence[tables.ReliabilityRow]
    history: Sequence[EpochRow]
    summary: Mapping[str, Any]  # metrics/train.json
    clips: Sequence[ClipRow]
    rejected: Sequence[RejectedRow]
    params_text: str  # content of params.yaml
    timelines: Sequence[timeline_tables.TimelineRow] = ()
    timeline_scores: Sequence[timeline_tables.TimelineScoreRow] = ()
    timeline_settings: Mapping[str, Any] = field(default_factory=dict)  # empty: none were chosen
    crossval: CrossvalResults | None = None
    crossval_texts: Sequence[str] = ()  # what it says of more videos and of this run
    relabelled: Mapping[str, Any] = field(default_factory=dict)  # data/relabelled.json
    crossval_error: str = ""  # why files of `slowfast crossval` are left out

    @property
    def run(self) -> Mapping[str, Any]:
        """The part of train.json on what the result was made from."""
        found: Mapping[str, Any] = (self.summary.get("run") or [{}])[0]
        return found

    @cached_property
    def clip_of(self) -> Mapping[str, ClipRow]:
        """The row of clips.csv of every case."""
        return {row.case: row for row in self.clips}


def read_results(files: ResultFiles) -> Results:
    """Read a run from its files.

    Raises:
        DataError: a file is missing or invalid, has no test video, or is from another run.
    """
    table = tables.PREDICTIONS.within(files.folder)
    found = tables.Predictions.of(tables.PREDICTIONS.read(table), source=str(table))
    probabilities = map(tuple, found.probabilities.tolist())
    predictions = [*map(VideoResult, tables.PREDICTIONS.rows(found.frame), probabilities)]
    clips = CLIPS.read_rows(files.clips)
    tested = {clip.case for clip in clips if clip.split == "test"}
    if stray := {video.row.case for video in predictions} - tested:
        raise DataError(f"{table}: {min(stray)} is no test video of {files.clips}; run `dvc repro`")
    counts = files.clips.with_name("relabelled.json")
    results = Results(
        class_names=found.class_names,
        scores=read_scores(tables.SCORES.within(files.folder)),
        subsets=files.rows(tables.SUBSETS),
        predictions=predictions,
        confusion=files.rows(tables.CONFUSION),
        classes=files.rows(tables.CLASSES),
        reliability=files.rows(tables.RELIABILITY),
        history=files.rows(HISTORY),
        summary=_read_json(files.folder / "train.json"),
        clips=clips,
        rejected=REJECTED.read_rows(files.rejected),
        params_text=_read_text(files.params),
        timelines=files.rows(timeline_tables.TIMELINES),
        timeline_scores=files.rows(timeline_tables.TIMELINE_SCORES),
        timeline_settings=_read_json(
            files.checkpoint.with_name(f"{files.checkpoint.stem}_timeline.json")
        ),
        relabelled=_read_json(counts) if counts.is_file() else {},
    )
    _check_agreement(results, files)
    return replace(results, **_crossval(results, files, found))


def _check_agreement(results: Results, files: ResultFiles) -> None:
    """Refuse tables of different runs, from which the page would be wrong without any sign.

    Raises:
        DataError: naming the table that does not fit.
    """
    num_tested = sum(clip.split == "test" for clip in results.clips)
    table = tables.PREDICTIONS.within(files.folder)
    if len(results.predictions) != num_tested:
        raise DataError(
            f"{table}: has {len(results.predictions)} videos, {files.clips} has {num_tested} in "
            "test; run `dvc repro`"
        )
    right = sum(video.is_right for video in results.predictions)
    stated = results.scores["top1_accuracy"].value
    if abs(right / num_tested - stated) > ROUNDING:
        scores = tables.SCORES.within(files.folder)
        raise DataError(
            f"{scores}: top1_accuracy is {stated}, {right} of {num_tested} rows of "
            f"{table} are correct; run `dvc repro`"
        )
    counted = Counter((video.row.actual, video.row.predicted) for video in results.predictions)
    if any(counted[row.actual, row.predicted] != row.count for row in results.confusion):
        confusion = tables.CONFUSION.within(files.folder)
        raise DataError(f"{confusion}: does not count {table}; run `dvc repro`")
    trained = results.run.get("params") or {}
    now = yaml.safe_load(results.params_text)
    for section in TRAINED_WITH:
        if section in trained and trained[section] != now[section]:
            raise DataError(
                f"{files.params}: section {section}: is not what the model was trained with; "
                "run `dvc repro`"
            )


def _crossval(
    results: Results, files: ResultFiles, predictions: tables.Predictions
) -> dict[str, Any]:
    """The fields on `slowfast crossval`, whose files may be missing, or not belong to the run."""
    network = (results.run.get("params") or {}).get("model") or {}
    model = f"{network.get('name')}, {network.get('weights')}"
    try:
        found = read_crossval(files.folder, results.clips)
        if found is None:
            return {}
        if found.model != model:  # perhaps of the run's own checkpoint, which knows the videos
            raise DataError(f"{files.folder / SUMMARY_NAME}: is of {found.model}, not of {model}")
        said = found.more_videos.splitlines()
        if results.run.get("method") != "probe":
            said.append(found.fine_tuning(predictions))
    except DataError as error:
        return {"crossval_error": f"{error}; run `slowfast crossval` again"}
    return {"crossval": found, "crossval_texts": said}


def read_scores(path: Path) -> dict[str, Estimate]:
    """Read the scores by name.

    Raises:
        DataError: the table cannot be read, or lacks the accuracy.
    """
    rows = tables.SCORES.read_rows(path)
    scores = {
        row.score: Estimate(row.value, row.low, row.high) for row in rows if row.value is not None
    }
    if "top1_accuracy" not in scores:
        raise DataError(f"{path}: has no top1_accuracy; run `dvc repro`")
    return scores


def tested(predictions: Sequence[VideoResult]) -> str:
    """Say what was tested: "9 test videos of 3 groups", "14 test parts of 2 videos"."""
    rows = [video.row for video in predictions]
    noun, unit = case_noun(rows), unit_noun(rows)
    said = count(len(rows), f"test {noun}")
    return said if noun == unit else f"{said} of {count(number_of_groups(predictions), unit)}"


def number_of_groups(predictions: Sequence[VideoResult]) -> int:
    """Count the groups of the test videos; a video without a group counts as one."""
    return len({video.row.group or video.row.video_path for video in predictions})


def _read_text(path: Path) -> str:
    try:
        with read_errors(path, advice="; run `dvc repro`"):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: is not a JSON object")
    return content
