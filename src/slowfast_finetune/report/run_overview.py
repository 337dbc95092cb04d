"""Summarise a run in the sentences, tables and facts that page and model card share. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Template

from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.manifest_table import NONE_OF_THESE, SPLITS, case_noun, unit_noun
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.inspection.readable import duration, percent, template_environment
from slowfast_finetune.report.results import Results, number_of_groups, tested


@cache
def texts() -> dict[str, Any]:
    """Read texts.yaml."""
    import yaml

    content: dict[str, Any] = yaml.safe_load(
        files(__package__).joinpath("texts.yaml").read_text(encoding="utf-8")
    )
    return content


@cache
def _templates(kind: str) -> list[Template]:
    """Compile the sentences of a kind."""
    return [*map(template_environment("report", autoescape=False).from_string, texts()[kind])]


def sentences(kind: str, results: Results) -> list[str]:
    """Render the sentences of texts.yaml on the result, the data or the training."""
    # Templates find None for what is missing.
    scores: dict[str, Any] = defaultdict(lambda: None, results.scores)
    run: dict[str, Any] = defaultdict(lambda: None, results.run)
    known = [row for row in results.classes if row.recall is not None]
    weakest = min(known, key=lambda row: row.recall or 0.0, default=None)
    confused = max(
        (row for row in results.confusion if weakest and row.actual == weakest.class_name),
        key=lambda row: row.count * (row.actual != row.predicted),
        default=None,
    )
    names = texts()["baselines"]
    baselines = [
        name
        for name in ("metadata_baseline", "majority_baseline", "chance_baseline")
        if name in scores
    ]
    values = {
        "NONE_OF_THESE": NONE_OF_THESE,
        "results": results,
        "noun": case_noun(results.clips),
        "scores": scores,
        "summary": results.summary,
        "run": run,
        "correct": sum(video.is_right for video in results.predictions),
        "groups": number_of_groups(results.predictions),
        "tested": tested(results.predictions),
        "unit": unit_noun(video.row for video in results.predictions),
        "names": names,
        "baselines": [f"{names[name]} {percent(scores[name].value)}" for name in baselines[::-1]],
        "highest": max(baselines, key=lambda name: scores[name].value, default=None),
        # train.json has the loss rounded to other digits than the history and its charts.
        "kept": next(
            (row for row in results.history if row.epoch == results.summary.get("best_epoch")),
            None,
        ),
        "weakest": weakest,
        "confused": confused.predicted if confused else None,
        "length": duration(sum(clip.duration_seconds for clip in results.clips)),
    }
    return [text for template in _templates(kind) if (text := template.render(values).strip())]


def data_table(results: Results) -> list[dict[str, Any]]:
    """Count the videos of each class, of the split, and unusual ones; the last row is the sum."""
    clips_of = grouped(results.clips, key=lambda clip: clip.class_name)
    rejected = Counter(row.class_name for row in results.rejected)
    names = [*results.class_names, *sorted({*clips_of, *rejected} - {*results.class_names})]
    rows = [(name, clips_of.get(name, []), rejected[name]) for name in names]
    return [_data_row(*row) for row in (*rows, ("all", results.clips, rejected.total()))]


def _data_row(name: str, clips: Sequence[ClipRow], rejected: int) -> dict[str, Any]:
    in_split = Counter(clip.split for clip in clips)
    return {
        "name": name,
        "counts": [in_split[split] for split in SPLITS],
        "groups": len({clip.group or clip.video_path for clip in clips}),
        "length": duration(sum(clip.duration_seconds for clip in clips)),
        "padded": sum(clip.num_sampled < clip.num_frames for clip in clips),
        "damaged": sum(clip.damaged for clip in clips),
        "rejected": rejected,
    }


def reproduction(results: Results) -> dict[str, Any]:
    """Collect the facts, versions and commands that lead to the same result."""
    run = results.run
    commit = str(run.get("git_commit") or "")
    checkout = [f"git checkout {commit.removesuffix('+changes')}"] if commit else []
    differed = ["# files differed from that commit"] if commit.endswith("+changes") else []
    return {
        "facts": [
            (name, run[key]) for key, name in texts()["facts"].items() if run.get(key) is not None
        ],
        "versions": list((run.get("versions") or {}).items()),
        "commands": "\n".join(
            [*checkout, "make setup", "source .venv/bin/activate", "dvc repro", *differed]
        ),
        "commit": commit,
    }
