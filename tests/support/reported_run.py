"""A run whose every answer is chosen by the test, with the files that its stages would write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from synthetic import make_params, make_rows, write_entry, write_params

from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS, REJECTED, ClipRow, RejectedRow
from slowfast_finetune.evaluation.result_rows import (
    Outcome,
    class_rows,
    confusion_rows,
    prediction_rows,
    reliability_rows,
    score_rows,
    subset_rows,
)
from slowfast_finetune.evaluation.result_tables import (
    CLASSES,
    CONFUSION,
    PREDICTIONS,
    PROBABILITY_DIGITS,
    RELIABILITY,
    SCORES,
    SUBSETS,
)
from slowfast_finetune.report.results import ResultFiles
from slowfast_finetune.timelines.timeline_tables import (
    TIMELINE_SCORES,
    TIMELINES,
    TimelineRow,
    TimelineScoreRow,
)
from slowfast_finetune.training.history import HISTORY, EpochRow

NUM_FRAMES = 8
NOISE = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, 48, 64, 3), np.uint8)


@dataclass(frozen=True)
class Answer:
    """A test video and what the model said: ``predicted`` with ``confidence``.

    ``changes`` are fields of its ClipRow.
    """

    actual: str
    predicted: str
    confidence: float = 0.8
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A project folder and how to read it."""

    folder: Path
    files: ResultFiles
    params: Params
    store: ClipStore
    clips: list[ClipRow]


def answers(actual: str, predicted: Mapping[str, int], **options: Any) -> list[Answer]:
    """Several videos of one class: how many were taken for what."""
    return [Answer(actual, name, **options) for name, number in predicted.items()
            for _ in range(number)]  # fmt: skip


def write_run(
    folder: Path,
    tests: Sequence[Answer],
    *,
    class_names: Sequence[str],
    num_train: Mapping[str, int] | int = 4,
    train_changes: Mapping[str, Mapping[str, Any]] | None = None,
    threshold: float = 0.0,
    rejected: Sequence[RejectedRow] = (),
    noise: bool = False,
    draw: Callable[[ClipRow], npt.NDArray[np.uint8]] | None = None,
    timelines: Sequence[TimelineRow] = (),
    timeline_scores: Sequence[TimelineScoreRow] = (),
) -> Run:
    """Write the files of a run; every clip is 8 frames of 64×48, grey or noise.

    Args:
        draw: gives the frames of every video; without it only test videos have entries.
        num_train: training videos of each class.
        train_changes: by class, fields of the ClipRows of its training videos.
    """
    params = make_params(clip={"num_frames": NUM_FRAMES})
    store = ClipStore(folder / "store", params.clip)
    facts = {"settings": store.folder.name, "num_frames": NUM_FRAMES, "num_sampled": NUM_FRAMES}
    train: list[ClipRow] = []
    for name in class_names:
        number = num_train if isinstance(num_train, int) else num_train[name]
        changes = {"class_name": name, "label": class_names.index(name), "split": "train"}
        rows = make_rows(number, **facts, **changes, **(train_changes or {}).get(name, {}))
        train += [
            row._replace(
                video_path=f"videos/{name}/train_{index}.mp4",
                content_hash=f"{len(train) + index:032x}",
            )
            for index, row in enumerate(rows)
        ]
    test = []
    for index, answer in enumerate(tests):
        (row,) = make_rows(1, **facts)
        test.append(
            row._replace(
                **{
                    "video_path": f"videos/{answer.actual}/test_{index}.mp4",
                    "class_name": answer.actual,
                    "label": class_names.index(answer.actual),
                    "split": "test",
                    "group": f"person {index // 2}",
                    "content_hash": f"{10**6 + index:032x}",
                    **answer.changes,
                }
            )
        )
        frames = np.roll(NOISE, index, axis=1) if noise else np.full_like(NOISE, index % 200)
        write_entry(store, test[-1], draw(test[-1]) if draw else frames)
    if draw:
        for row in train:
            write_entry(store, row, draw(row))
    outcome = Outcome(test, probabilities(tests, class_names), train, threshold)
    metrics = folder / "metrics"
    PREDICTIONS.write(
        metrics / "predictions.csv",
        prediction_rows(outcome, class_names, num_views=1),
        class_names=class_names,
        class_values=np.round(outcome.probabilities, PROBABILITY_DIGITS),
    )
    SCORES.write(metrics / "scores.csv", score_rows(outcome))
    SUBSETS.write(metrics / "subsets.csv", subset_rows(outcome))
    plots = metrics / "plots"
    CONFUSION.write(plots / "confusion.csv", confusion_rows(outcome, class_names))
    CLASSES.write(plots / "per_class.csv", class_rows(outcome, class_names))
    RELIABILITY.write(plots / "reliability.csv", reliability_rows(outcome))
    HISTORY.write(metrics / "history.csv", [epoch(number) for number in (1, 2, 3)])
    (then,) = SUMMARY["run"]
    run = then | {"params": params.model_dump(mode="json")}
    (metrics / "train.json").write_text(json.dumps(SUMMARY | {"run": [run]}))
    CLIPS.write(folder / "data" / "clips.csv", [*train, *test])
    REJECTED.write(folder / "data" / "rejected.csv", rejected)
    TIMELINES.write(metrics / "timelines.csv", timelines)
    TIMELINE_SCORES.write(metrics / "timeline_scores.csv", timeline_scores)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "best_timeline.json").write_text("{}")
    write_params(folder / "params.yaml", params)
    files = ResultFiles(
        metrics,
        params=folder / "params.yaml",
        clips=folder / "data" / "clips.csv",
        rejected=folder / "data" / "rejected.csv",
        checkpoint=folder / "models" / "best.pt",
    )
    return Run(folder, files, params, store, [*train, *test])


def probabilities(tests: Sequence[Answer], class_names: Sequence[str]) -> npt.NDArray[np.float64]:
    """What is left of the confidence goes to the others alike."""
    rest = [(1 - answer.confidence) / max(len(class_names) - 1, 1) for answer in tests]
    values = np.repeat(np.array(rest)[:, None], len(class_names), axis=1)
    for row, answer in zip(values, tests, strict=True):
        row[class_names.index(answer.predicted)] = answer.confidence
    return values


def epoch(number: int) -> EpochRow:
    """A row of the history; losses fall with the number."""
    values: dict[str, Any] = dict.fromkeys(EpochRow._fields, 0.5)
    return EpochRow(**{**values, "epoch": number, "train_loss": 3 / number, "val_loss": 2 / number})


SUMMARY: dict[str, Any] = {
    "best_epoch": 3,
    "best_val_loss": 0.6667,
    "best_val_accuracy": 0.5,
    "train_minutes": 1.5,
    "run": [
        {
            "git_commit": "0123456789abcdef+changes",
            "seed": 7,
            "data_digest": "feed",
            "versions": {"torch": "9.9"},
        }
    ],
}
