"""Pool the predictions of the folds of a k-fold, in which every video is tested once."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.comparing.sources import check_same_classes, read_predictions, run_of
from slowfast_finetune.evaluation.resampling import few_units, interval_of_accuracy
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, Predictions

# Sections of params.yaml that make a training run; and what in them may differ between folds.
TRAINING = ("data", "clip", "model", "train", "augment")
OF_A_FOLD = ("data.fold", "data.videos")


def pool(sources: Sequence[str]) -> tuple[list[Predictions], Predictions]:
    """Read the predictions of each fold (file or revision): those of each fold, and of all.

    Raises:
        DataError: one cannot be read, the classes differ, or a video or group is in two folds.
    """
    folds = [read_predictions(source) for source in sources]
    check_same_classes(folds)
    _check_nothing_is_in_two(folds)
    first = folds[0]
    for fold in folds:
        if list(fold.frame.columns) != list(first.frame.columns):
            raise DataError(f"{fold.source}: has other columns than {first.source}")
    return folds, together(folds)


def together(folds: Sequence[Predictions]) -> Predictions:
    """The predictions of all folds as one table, in the order of the folds."""
    import pandas as pd

    frame = pd.concat([fold.frame for fold in folds], ignore_index=True)
    return Predictions("together", folds[0].class_names, frame)


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


def check_kfold(sources: Sequence[str]) -> list[str]:
    """Check by the parameters of the runs that they are one k-fold, and name those missing.

    Runs whose parameters are not known are passed over: files of other names than predictions.csv,
    or without a train.json beside them.

    Raises:
        DataError: one is no fold, or two have other parameters.
    """
    known = {source: found for source in sources if (found := _params_of(source))}
    for source, params in known.items():
        if params.get("data.fold") is None:
            raise DataError(f"{source}: is no fold of a k-fold: its data.fold is null")
    for (one, a), (other, b) in itertools.pairwise(known.items()):
        for name, value in a.items():
            if name not in OF_A_FOLD and b.get(name, value) != value:
                raise DataError(
                    f"{other}: is no fold of the same k-fold as {one}: its {name} is "
                    f"{json.dumps(b[name])}, not {json.dumps(value)}"
                )
    if not known or len(known) < len(sources):
        return []
    number = next(iter(known.values()))["data.num_folds"]
    missing = sorted({*range(number)} - {params["data.fold"] for params in known.values()})
    if not missing:
        return []
    *names, last = map(str, missing)
    said = f"folds {', '.join(names)} and {last}" if names else f"fold {last}"
    are = "are" if names else "is"
    return [f"{said} of {number}, counted from 0, {are} missing: not every video is tested"]


def _params_of(source: str) -> dict[str, Any]:
    """The parameters of the training run of a source, by name; empty if they are not known."""
    path = Path(source)
    if path.is_file() and path.name != Path(PREDICTIONS.file).name:
        return {}
    params = run_of(source).get("params") or {}
    return {
        f"{section}.{name}": value
        for section in TRAINING
        for name, value in params.get(section, {}).items()
    }


def describe(folds: Sequence[Predictions], pooled: Predictions) -> str:
    """Format each fold's top-1 accuracy, and that of all with its 95 % confidence interval."""
    runs = [*folds, pooled]
    width = max(len(run.source) for run in runs)
    lines = [f"{'':{width}}  {pooled.noun + 's':>6}  top-1 accuracy"]
    lines += [
        f"{run.source:{width}}  {len(run.frame):6}  {(run.actual == run.predicted).mean():14.3f}"
        for run in runs
    ]
    low, high = interval_of_accuracy(pooled.actual == pooled.predicted, pooled.units)
    lines[-1] += f" [{low:.3f}, {high:.3f}]"
    few = few_units(int(pooled.units.max()) + 1, pooled.unit_noun, of_shares=True)
    return "\n".join([*lines, *([few] if few else [])])
