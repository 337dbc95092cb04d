"""Evaluate the best checkpoint on the test split, and write the tables of results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slowfast_finetune.base.console import count, say
from slowfast_finetune.base.errors import CheckpointError, DataError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.manifest_table import case_noun, unit_noun
from slowfast_finetune.base.params import Params
from slowfast_finetune.base.tables import Table
from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import ViewPlan
from slowfast_finetune.evaluation import result_rows
from slowfast_finetune.evaluation import result_tables as tables
from slowfast_finetune.evaluation.resampling import few_units
from slowfast_finetune.evaluation.result_rows import Outcome
from slowfast_finetune.features.extraction import view_features
from slowfast_finetune.model.checkpoint import Checkpoint, load_checkpoint
from slowfast_finetune.scoring.novelty import ClassDistances
from slowfast_finetune.scoring.views import Views, view_stored


def evaluate_checkpoint(
    rows: Sequence[ClipRow],
    *,
    checkpoint_path: Path,
    params: Params,
    store: ClipStore,
    project: Path,
    results: Path,
) -> None:
    """Predict every test video from the mean over its views, and write the results.

    Args:
        results: folder for metrics.json and the tables.

    Raises:
        CheckpointError: the checkpoint cannot be used or has other classes than clips.csv.
        DataError: there is no test video, or a clip cannot be restored.
    """
    checkpoint = load_checkpoint(checkpoint_path)
    test_rows = [row for row in rows if row.split == "test"]
    if not test_rows:
        raise DataError("data/clips.csv: no usable video in test; nothing can be measured")
    _check_classes(rows, checkpoint, checkpoint_path)
    shown, own = checkpoint.params.get("evaluate"), params.evaluate.model_dump()
    if shown not in (None, own):
        say(
            f"note: this measures with {_named(own)}; predict and serve, and the limit of novelty, "
            f"go by what params.yaml had in training, {_named(shown)}; train again to change that"
        )
    restore_entries(test_rows, params=params, store=store, project=project)
    views = view_videos(test_rows, checkpoint=checkpoint, params=params, store=store)
    distances = ClassDistances.of(checkpoint)  # None in an older checkpoint
    outcome = Outcome(
        test_rows,
        views.probabilities(temperature=checkpoint.temperature),
        [row for row in rows if row.split == "train"],
        checkpoint.threshold,
        None if distances is None else views.novelty(distances),
    )
    _write(outcome, views, checkpoint.class_names, results)


def _named(views: Mapping[str, int]) -> str:
    return ", ".join(f"evaluate.{name}: {value}" for name, value in views.items())


def _check_classes(rows: Sequence[ClipRow], checkpoint: Checkpoint, path: Path) -> None:
    for row in rows:
        if checkpoint.class_names[row.label : row.label + 1] != [row.class_name]:
            raise CheckpointError(
                f"{path}: was trained with {', '.join(checkpoint.class_names)}; data/clips.csv has "
                f"{row.class_name!r} as label {row.label}; run `dvc repro`"
            )


def view_videos(
    rows: Sequence[ClipRow], *, checkpoint: Checkpoint, params: Params, store: ClipStore
) -> Views:
    """Run the checkpoint's model on every view of stored videos; of a probe, the last layer."""
    is_probe = checkpoint.params.get("train", {}).get("method") == "probe"
    view = view_features if is_probe else view_stored
    return view(
        rows,
        checkpoint=checkpoint,
        clips=store.folder,
        runtime=params.runtime,
        views=ViewPlan(params.evaluate.temporal_views, params.evaluate.spatial_crops),
    )


def _write(outcome: Outcome, views: Views, class_names: list[str], results: Path) -> None:
    scores = result_rows.score_rows(outcome)
    classes = result_rows.class_rows(outcome, class_names)
    num_views = len(views.windows) // len(outcome.rows)
    view_rows = []
    for window in views.windows:
        row = outcome.rows[window.clip]
        place = (window.start, window.top, window.left)
        view_rows.append(tables.ViewRow(row.video_path, *place, row.start_seconds, row.end_seconds))

    def write(table: Table[Any], rows: Sequence[Any], **by_class: Any) -> None:
        table.write(table.within(results), rows, **by_class)

    write(tables.VIEWS, view_rows, class_names=class_names, class_values=views.logits)
    write(
        tables.PREDICTIONS,
        result_rows.prediction_rows(outcome, class_names, num_views=num_views),
        class_names=class_names,
        class_values=np.round(outcome.probabilities, tables.PROBABILITY_DIGITS),
    )
    write(tables.SCORES, scores)
    write(tables.SUBSETS, result_rows.subset_rows(outcome))
    write(tables.CLASSES, classes)
    write(tables.CONFUSION, result_rows.confusion_rows(outcome, class_names))
    write(tables.RELIABILITY, result_rows.reliability_rows(outcome))
    headline = json.dumps(result_rows.headline(scores), indent=2)
    write_text(results / "metrics.json", headline + "\n")
    say(describe(outcome, scores, classes))


def describe(
    outcome: Outcome, scores: Sequence[tables.ScoreRow], classes: Sequence[tables.ClassRow]
) -> str:
    """Format the result as a table of classes, the accuracy and the baselines."""
    noun = case_noun(outcome.rows)
    width = max(len(row.class_name) for row in classes)
    lines = [f"{'class':{width}}  precision  recall  {noun + 's':>6}"]
    lines += [
        f"{row.class_name:{width}}  {row.precision:9.3f}  "
        + (f"{row.recall:6.3f}" if row.recall is not None else " " * 6)
        + f"  {row.num_videos:6}"
        for row in classes
    ]
    by_name = {row.score: row for row in scores}
    top1 = by_name["top1_accuracy"]
    lines += [
        f"top-1 accuracy {top1.value:.3f} on {count(len(outcome.rows), f'test {noun}')} "
        f"(95 % confidence interval {top1.low:.3f} to {top1.high:.3f})",
        f"baselines: {by_name['majority_baseline'].value:.3f} always predicting the most frequent "
        f"class, {by_name['metadata_baseline'].value:.3f} from file properties such as resolution, "
        "duration and codec alone",
    ]
    lines.append(few_units(outcome.num_units, unit_noun(outcome.rows), of_shares=True))
    return "\n".join(filter(None, lines))
