"""Pool the predictions of the folds of a k-fold, in which every video is tested once."""

from collections.abc import Sequence

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.comparing.sources import check_same_classes, read_predictions
from slowfast_finetune.evaluation.resampling import few_units, interval_of_accuracy
from slowfast_finetune.evaluation.result_tables import Predictions


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
    few = few_units(int(pooled.units.max()) + 1, pooled.unit_noun)
    return "\n".join([*lines, *([few] if few else [])])
