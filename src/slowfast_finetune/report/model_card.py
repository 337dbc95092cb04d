"""Pure: a run's model card, models/README.md, in the form that Hugging Face reads.

Front matter: https://huggingface.co/docs/hub/model-cards; sections after Mitchell et al., "Model
Cards for Model Reporting", arXiv 1810.03993.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import yaml

from slowfast_finetune.base.params import Params
from slowfast_finetune.inspection.findings import Finding
from slowfast_finetune.inspection.readable import count, decimal, interval, percent
from slowfast_finetune.report.overview import data_view, reproduction, run_of
from slowfast_finetune.report.results import Results
from slowfast_finetune.report.verdict import verdict

# Score of metrics/scores.csv, what the card calls it, its name in Hugging Face's list if any.
SHOWN: tuple[tuple[str, str, str | None], ...] = (
    ("top1_accuracy", "accuracy", "accuracy"),
    ("macro_precision", "precision, mean over classes", "precision"),
    ("macro_recall", "recall, mean over classes", "recall"),
    ("macro_f1", "F1, mean over classes", "f1"),
    ("loss", "cross-entropy", None),
    ("calibration_error", "calibration error", None),
    ("majority_baseline", "accuracy of always answering the most frequent class", None),
    ("metadata_baseline", "accuracy from the files' properties alone", None),
)
NO_SHARES = frozenset({"loss", "calibration_error"})


def model_card(results: Results, *, params: Params, findings: Sequence[Finding]) -> str:
    """The card: YAML front matter, then Markdown."""
    front = yaml.safe_dump(
        _front_matter(results, params), sort_keys=False, allow_unicode=True, width=1000
    )
    parts = [
        f"---\n{front}---",
        f"# {_text(_dataset_name(params))}: {_joined(results.class_names)}",
        _summary(results, params),
        f"## Use\n\n{_use(params)}",
        f"## Result\n\n{_result(results)}",
        f"## Data\n\n{_data(results)}",
        f"## Limits\n\n{_limits(results, findings)}",
        f"## Made from\n\n{_made_from(results)}",
        f"## Licence\n\n{_licence(results, params)}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(results: Results, params: Params) -> dict[str, Any]:
    metrics = [
        {"type": kind, "name": name, "value": results.scores[score].value}
        for score, name, kind in SHOWN
        if kind is not None and score in results.scores
    ]
    return {
        "license": "unknown",
        "library_name": "slowfast-finetune",
        "pipeline_tag": "video-classification",
        "tags": ["video-classification", "action-recognition", "slowfast", params.model.name],
        "model-index": [
            {
                "name": f"{_dataset_name(params)}-{params.model.name}",
                "results": [
                    {
                        "task": {"type": "video-classification"},
                        "dataset": {
                            "type": "video-folder",
                            "name": _dataset_name(params),
                            "split": "test",
                        },
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _dataset_name(params: Params) -> str:
    """The last part of the videos folder: the rest of its path is nobody else's business."""
    return PurePath(params.data.videos).name or "videos"


def _summary(results: Results, params: Params) -> str:
    clip = params.clip
    seconds = clip.num_frames / clip.sample_fps
    return (
        f"Says which of {count(len(results.class_names), 'class', 'classes')} a video shows. "
        f"{_text(params.model.name)}, trained on clips of {clip.num_frames} frames at "
        f"{clip.sample_fps:g} a second ({seconds:.3g} s), {params.train.crop_size} px square. "
        "Written by the pipeline from the run; edit a copy."
    )


def _use(params: Params) -> str:
    clip, side = params.clip, params.train.crop_size
    return f"""With slowfast-finetune installed, from a video:

```python
from slowfast_finetune import load_model

print(load_model("best.pt").predict("video.mp4"))
```

Where only torch is, from a clip that is cut already (uint8, RGB; shorter side {clip.short_side} px,
then the centre square):

```python
import torch

model = torch.export.load("best_model.pt2").module()
clips = torch.zeros(1, {clip.num_frames}, {side}, {side}, 3, dtype=torch.uint8)
probabilities = model(clips)
```

`torch.export.load` can be made to run code by a file made for it: ask `slowfast export --check`
about files that you do not know. `best.pt` is read without running anything."""


def _result(results: Results) -> str:
    rows = [
        f"| {name} | {_score(score, results.scores[score].value)} | {_between(results, score)} |"
        for score, name, _ in SHOWN
        if score in results.scores
    ]
    classes = [
        f"| {_text(row.class_name)} | {percent(row.recall)} | "
        f"{interval(row.recall_low, row.recall_high)} | {percent(row.precision)} | "
        f"{row.num_videos} |"
        for row in results.classes
    ]
    return "\n".join(
        [
            " ".join(map(_text, verdict(results))),
            "",
            "| on the test videos | value | 95 % interval |",
            "| --- | --- | --- |",
            *rows,
            "",
            "| class | recall | 95 % interval | precision | test videos |",
            "| --- | --- | --- | --- | --- |",
            *classes,
        ]
    )


def _score(score: str, value: float | None) -> str:
    return decimal(value) if score in NO_SHARES else percent(value)


def _between(results: Results, score: str) -> str:
    found = results.scores[score]
    if score in NO_SHARES:
        return f"{decimal(found.low)} to {decimal(found.high)}"
    return interval(found.low, found.high)


def _data(results: Results) -> str:
    view = data_view(results)
    rows = [
        f"| {_text(row.name)} | {' | '.join(map(str, row.counts))} | {row.groups} | {row.length} |"
        for row in (*view.rows, view.total)
    ]
    return "\n".join(
        [
            view.sentence,
            "",
            f"| class | {' | '.join(view.splits)} | groups | length |",
            f"| --- |{' --- |' * len(view.splits)} --- | --- |",
            *rows,
        ]
    )


def _limits(results: Results, findings: Sequence[Finding]) -> str:
    grouped = any(clip.group for clip in results.clips)
    apart = grouped and not any(finding.code == "group-on-both-sides" for finding in findings)
    limits = [
        f"Measured on {count(len(results.predictions), 'video')} of this collection. Other "
        "cameras, places and people may give other results; the intervals do not cover that.",
        "Test videos share no group with training videos; what a group is, a person or "
        "a camera, whoever set up the run has decided."
        if apart
        else "Groups are on both sides of the split, so the result flatters."
        if grouped
        else "No groups were given: the same people and places may be in training and test "
        "videos, and then the result flatters.",
        f"It always names one of its {len(results.class_names)} classes, unless the answer's "
        "probability is below the threshold that the validation videos gave; no video of "
        "anything else has been shown to it.",
    ]
    grave = [finding for finding in findings if finding.level in ("problem", "warning")]
    limits += [
        f"{'Problem' if finding.level == 'problem' else 'Look'}: {_text(finding.title)}"
        for finding in grave
    ]
    if not grave:
        limits.append("The inspection of videos and predictions found no problem.")
    return "\n".join(f"- {limit}" for limit in limits)


def _made_from(results: Results) -> str:
    made = reproduction(results)
    facts = [(str(name), str(value)) for name, value in (*made["facts"], *made["versions"])]
    return "\n".join(f"- {_text(name)}: {_text(value)}" for name, value in facts)


def _licence(results: Results, params: Params) -> str:
    first = str(run_of(results.summary).get("initial_weights") or "")
    said = (
        "Nobody has chosen one: `license: unknown` above is for the owner of the videos and the "
        "model to replace. Whose videos these are, and whether those who are seen agreed, this "
        "card cannot know."
    )
    if "kinetics" not in f"{params.model.weights} {first}".lower():
        return said
    return (
        f"{said} Training began from weights that pytorchvideo's model zoo made with the videos of "
        "Kinetics-400; their terms hold too."
    )


def _joined(names: Sequence[str]) -> str:
    shown = ", ".join(map(_text, names[:6]))
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"


def _text(text: str) -> str:
    """Any text as Markdown that shows it: in a line, in a table cell, in a heading."""
    return re.sub(r"([\\`*_\[\]<>|&~$#])", r"\\\1", re.sub(r"\s+", " ", text))
