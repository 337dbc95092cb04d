"""Pure: tables, curves and facts of the page, from the results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from slowfast_finetune.clips.clip_tables import ClipRow, RejectedRow
from slowfast_finetune.evaluation.result_tables import SubsetRow
from slowfast_finetune.inspection.readable import (
    count,
    decimal,
    duration,
    interval,
    percent,
    shortened,
)
from slowfast_finetune.report.charts import Line, line_chart
from slowfast_finetune.report.results import Estimate, Results, number_of_groups
from slowfast_finetune.training.history import EpochRow

SPLITS = ("train", "val", "test")

MEANINGS = {
    "top1_accuracy": "videos whose most probable class is the right one",
    "top5_accuracy": "videos whose class is among the five most probable",
    "balanced_accuracy": "mean recall: every class counts the same",
    "macro_precision": "mean over classes: of the videos taken for it, how many are it",
    "macro_recall": "mean over classes: of its videos, how many are recognised",
    "macro_f1": "mean over classes of the harmonic mean of the two",
    "weighted_precision": "the same, weighted by videos",
    "weighted_recall": "the same, weighted by videos: the accuracy",
    "weighted_f1": "the same, weighted by videos",
    "loss": "cross-entropy; 0 is certain and right",
    "calibration_error": "how far confidence lies from being right, on average",
    "answered": "videos in which it is sure enough to answer",
    "accuracy_when_answered": "right among those",
    "chance_baseline": "guessing",
    "majority_baseline": "always answering the most frequent training class",
    "metadata_baseline": "from the file's properties alone, without a look at the picture",
    "above_metadata": "accuracy minus that: what seeing adds",
}
BASELINES = (
    ("top1_accuracy", "this model", "model"),
    ("metadata_baseline", "file properties alone", "baseline"),
    ("majority_baseline", "most frequent class", "baseline"),
    ("chance_baseline", "guessing", "baseline"),
)
SUBSETS = {
    "padded": "padded: shorter than a clip",
    "unpadded": "long enough for a clip",
    "damaged": "damaged files",
    "sound": "undamaged files",
    "seen_scenes": "scenes seen in training",
    "unseen_scenes": "scenes never seen",
}


@dataclass(frozen=True)
class DataRow:
    """One class, or all: videos of each split, and what is odd among them."""

    name: str
    counts: Sequence[int]
    groups: int
    length: str
    padded: int
    damaged: int
    refused: int


@dataclass(frozen=True)
class Reason:
    """Why videos were refused, how many, and one of them."""

    code: str
    number: int
    example: str
    detail: str


@dataclass(frozen=True)
class DataView:
    """The data section."""

    sentence: str
    splits: Sequence[str]
    rows: Sequence[DataRow]
    total: DataRow
    reasons: Sequence[Reason]


def data_view(results: Results) -> DataView:
    """Videos by class and split, and what was refused."""
    rows = [
        _data_row(
            name,
            [clip for clip in results.clips if clip.class_name == name],
            [row for row in results.rejected if row.class_name == name],
        )
        for name in _class_names(results)
    ]
    total = _data_row("all", results.clips, results.rejected)
    sentence = (
        f"{count(len(results.clips), 'usable video')}, {total.length} in all, split by "
        f"{'group' if any(clip.group for clip in results.clips) else 'video'}; "
        f"{len(results.rejected) or 'none'} refused. The number above is measured on "
        f"{count(len(results.predictions), 'test video')} from "
        f"{count(number_of_groups(results.predictions), 'group')}."
    )
    return DataView(sentence, SPLITS, rows, total, _reasons(results.rejected))


def _class_names(results: Results) -> list[str]:
    found = {clip.class_name for clip in results.clips}
    found |= {row.class_name for row in results.rejected}
    return [*results.class_names, *sorted(found - set(results.class_names))]


def _data_row(name: str, clips: Sequence[ClipRow], rejected: Sequence[RejectedRow]) -> DataRow:
    return DataRow(
        name=name,
        counts=[sum(clip.split == split for clip in clips) for split in SPLITS],
        groups=len({clip.group or clip.video_path for clip in clips}),
        length=duration(sum(clip.duration_seconds for clip in clips)),
        padded=sum(clip.num_sampled < clip.num_frames for clip in clips),
        damaged=sum(clip.damaged for clip in clips),
        refused=len(rejected),
    )


def _reasons(rejected: Sequence[RejectedRow]) -> list[Reason]:
    by_code: dict[str, list[RejectedRow]] = defaultdict(list)
    for row in rejected:
        by_code[row.reason].append(row)
    return [
        Reason(code, len(rows), shortened(rows[0].video_path, limit=80), rows[0].detail)
        for code, rows in sorted(by_code.items(), key=lambda item: -len(item[1]))
    ]


def baselines(results: Results) -> list[tuple[str, Estimate, str]]:
    """The accuracy and what could be had without the model: name, estimate, look."""
    return [
        (name, results.scores[score], look)
        for score, name, look in BASELINES
        if score in results.scores
    ]


def score_table(results: Results) -> list[dict[str, str]]:
    """All scores as in the file, with their meaning."""
    return [
        {
            "name": name,
            "value": decimal(score.value, digits=4),
            "low": decimal(score.low, digits=4),
            "high": decimal(score.high, digits=4),
            "meaning": MEANINGS.get(name, ""),
        }
        for name, score in results.scores.items()
    ]


def class_table(results: Results) -> list[dict[str, Any]]:
    """Recall, precision and F1 of each class, the least recognised first."""
    # Those without test videos have no recall, and come last.
    rows = sorted(results.classes, key=lambda row: 2.0 if row.recall is None else row.recall)
    return [
        {
            "name": row.class_name,
            "recall": None
            if row.recall is None
            else Estimate(row.recall, row.recall_low, row.recall_high),
            "precision": row.precision,
            "f1": row.f1,
            "num_videos": row.num_videos,
        }
        for row in rows
    ]


def subset_table(rows: Sequence[SubsetRow]) -> list[dict[str, Any]]:
    """Accuracy on parts of the test videos."""
    return [
        {
            "name": SUBSETS.get(row.subset, row.subset),
            "estimate": Estimate(row.accuracy, row.low, row.high),
            "detail": f"{count(row.num_videos, 'video')}, {interval(row.low, row.high)}",
        }
        for row in rows
    ]


def curves(history: Sequence[EpochRow], *, best_epoch: int | None) -> list[dict[str, Any]]:
    """The charts of training."""
    if not history:
        return []
    epochs = [row.epoch for row in history]

    def chart(title: str, **columns: str) -> dict[str, Any]:
        lines = [
            Line(name, look, epochs, [float(getattr(row, column)) for row in history])
            for (name, column), look in zip(columns.items(), ("first", "second"), strict=True)
        ]
        svg: Markup = line_chart(
            title,
            lines,
            x_label="epoch",
            marked=best_epoch,
            mark_label=f"best: {best_epoch}",
        )
        return {"title": title, "svg": svg, "legend": lines}

    return [
        chart("Loss", validation="val_loss", training="train_loss"),
        chart("Accuracy", validation="val_accuracy", training="train_accuracy"),
        chart("Learning rate", head="learning_rate", backbone="learning_rate_backbone"),
        chart("Gradient norm", head="grad_norm_head", backbone="grad_norm_backbone"),
    ]


def training_sentence(results: Results) -> str:
    """How long, how far, which epoch was kept."""
    summary, run = results.summary, run_of(results.summary)
    parts = [f"{count(len(results.history), 'epoch')}"]
    if "train_minutes" in summary:
        parts[0] += f" in {duration(60 * float(summary['train_minutes']))}"
    if run.get("runs_on"):
        parts[0] += f" on {run['runs_on']}"
    if summary.get("best_epoch"):
        parts.append(
            f"Kept is epoch {summary['best_epoch']}, with the lowest validation loss"
            f" ({decimal(summary.get('best_val_loss'))}, accuracy "
            f"{percent(summary.get('best_val_accuracy'))})"
        )
    return ". ".join(parts) + "."


def run_of(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """What train.json says the result was made from."""
    runs = summary.get("run") or [{}]
    found: Mapping[str, Any] = runs[0]
    return found


def reproduction(results: Results) -> dict[str, Any]:
    """Facts, versions and commands that lead to the same result."""
    run = run_of(results.summary)
    names = {
        "commit": "git_commit",
        "data digest": "data_digest",
        "seed": "seed",
        "first weights": "initial_weights",
        "ran on": "runs_on",
        "parameters trained": "parameters_trained",
        "peak memory [MB]": "peak_memory_mb",
    }
    facts = [(name, run[key]) for name, key in names.items() if run.get(key) is not None]
    commit = str(run.get("git_commit") or "")
    checkout = [f"git checkout {commit.removesuffix('+changes')}"] if commit else []
    return {
        "facts": facts,
        "versions": list((run.get("versions") or {}).items()),
        "commands": "\n".join([*checkout, "make setup", "source .venv/bin/activate", "dvc repro"])
        + ("\n# files differed from that commit" if commit.endswith("+changes") else ""),
        "commit": commit,
    }
