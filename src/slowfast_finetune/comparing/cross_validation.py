"""Test every video once by probes: k-fold cross-validation, and accuracy by number of videos."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from slowfast_finetune.base.console import progress, say
from slowfast_finetune.base.errors import ParamsError
from slowfast_finetune.base.manifest_table import case_noun
from slowfast_finetune.base.params import ClipShape, ModelParams, Params
from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.comparing.crossval_files import CrossvalResults, CurveRow
from slowfast_finetune.comparing.pooling import describe, together
from slowfast_finetune.evaluation.resampling import (
    Interval,
    bootstrap_interval,
    interval_of_accuracy,
    resampled,
)
from slowfast_finetune.evaluation.result_rows import Outcome, prediction_rows
from slowfast_finetune.evaluation.result_tables import Predictions
from slowfast_finetune.features import logistic
from slowfast_finetune.features.extraction import Backbone, VideoFeatures, features_of, probe_views
from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.model.checkpoint import video_numbers
from slowfast_finetune.model.weights import build_pretrained, videos_seen
from slowfast_finetune.scoring.metrics import Floats, Labels

SHARES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
DRAWS = 5
FULL, HALF = SHARES.index(1.0), SHARES.index(0.5)


@dataclass(frozen=True)
class CrossValidation:
    """Every video tested once, by a probe that has not seen its group."""

    rows: Sequence[ClipRow]  # all N usable videos
    folds: Labels  # in which each is tested (N,)
    probabilities: Floats  # float64 (N, classes), calibrated within the other folds
    thresholds: Sequence[float]  # of each fold
    penalties: Sequence[float]  # what each fold chose

    def predictions(self, class_names: Sequence[str], *, num_views: int) -> list[Predictions]:
        """The predictions of each fold."""
        import pandas as pd

        found = []
        for fold, threshold in enumerate(self.thresholds):
            inside = self.folds == fold
            rows = [*itertools.compress(self.rows, inside)]
            outcome = Outcome(rows, self.probabilities[inside], [], threshold)
            frame = pd.DataFrame(prediction_rows(outcome, class_names, num_views=num_views))
            for label, name in enumerate(class_names):
                frame[f"p({name})"] = outcome.probabilities[:, label]
            found.append(Predictions(f"fold {fold}", tuple(class_names), frame))
        return found


def judge_by_probes(
    rows: Sequence[ClipRow], *, params: Params, store: ClipStore, project: Path
) -> CrossvalResults:
    """Cross-validate all usable videos and say how accuracy grows with their number.

    Raises:
        DataError, ParamsError, WeightsError: as :func:`all_features` and :func:`cross_validated`.
    """
    names = list(dict(sorted((row.label, row.class_name) for row in rows)).values())
    features = all_features(rows, params=params, store=store, project=project)
    found = cross_validated(rows, features, params=params)
    folds = found.predictions(names, num_views=features.unmirrored.shape[1])
    pooled = together(folds)
    say(describe(folds, pooled))
    curve, right = learning_curve(found, features, params=params)
    more_videos = more_videos_text(curve, right, rows, names)
    if warning := warning_of_weights(rows, params.model):
        more_videos += f"\nWarning: {warning}."
    say(f"{curve_table(curve)}\n{more_videos}")
    return CrossvalResults(
        pooled, curve, f"{params.model.name}, {params.model.weights}", more_videos
    )


def all_features(
    rows: Sequence[ClipRow], *, params: Params, store: ClipStore, project: Path
) -> VideoFeatures:
    """The features that a probe with these parameters is fitted to, of all rows.

    Raises:
        DataError: a clip is missing.
        ParamsError: the weights are random.
        WeightsError: the weights cannot be used.
    """
    if params.model.weights == "none":
        raise ParamsError(
            "model.weights: none: features of random weights tell nothing; use kinetics400 or a "
            "checkpoint file"
        )
    restore_entries(rows, params=params, store=store, project=project)
    names = sorted({row.class_name for row in rows})
    network, _ = build_pretrained(params.model, class_names=names)
    shape = ClipShape(params.clip.num_frames, params.train.crop_size)
    return features_of(
        rows,
        Backbone(network, params.model.name, shape),
        views=probe_views(params.train, params.augment),
        clips=store.folder,
        runtime=params.runtime,
    )


def warning_of_weights(rows: Sequence[ClipRow], params: ModelParams) -> str:
    """Say whether the weights were trained on some of these videos; empty if they were not."""
    seen = videos_seen(params)
    if seen is None:
        return f"if {params.weights} was trained on some of these videos, the accuracy is too high"
    number = int(torch.isin(video_numbers(row.content_hash for row in rows), seen).sum())
    if not number:
        return ""
    return f"{params.weights} was trained on {number} of these videos: the accuracy is too high"


def cross_validated(
    rows: Sequence[ClipRow], features: VideoFeatures, *, params: Params
) -> CrossValidation:
    """Test every video by a probe of the other folds; each chooses its penalty within these.

    Raises:
        DataError: a class lies in too few groups.
    """
    num_folds, seed = params.data.num_folds, params.data.split_seed
    # Each training part is dealt to folds once more.
    folds = logistic.deal_folds(rows, num_folds=num_folds, seed=seed, groups_left=2)
    labels = np.array([row.label for row in rows], np.int64)
    probabilities = np.zeros((len(rows), int(labels.max()) + 1))
    thresholds, penalties = [], []
    count = int(folds.max()) + 1
    if count < num_folds:
        say(f"{count} folds: a class has no more groups; data.num_folds is {num_folds}")
    for fold in progress(range(count), total=count, label="cross-validating", unit="fold"):
        inside = folds != fold
        probe = logistic.fit_probe(
            [*itertools.compress(rows, inside)],
            features.values[inside],
            num_views=features.unmirrored.shape[1],
            balanced=params.train.is_balanced,
            seed=params.train.seed,
        )
        probabilities[~inside] = _probabilities(
            probe.head, features.unmirrored[~inside], temperature=probe.calibration.temperature
        )
        thresholds.append(probe.calibration.threshold)
        penalties.append(probe.results[probe.best].penalty)
    return CrossValidation(rows, folds, probabilities, thresholds, penalties)


def learning_curve(
    found: CrossValidation, features: VideoFeatures, *, params: Params
) -> tuple[list[CurveRow], Floats]:
    """Accuracy by the share of the training groups, with the penalty that all of them chose.

    Groups are drawn at random DRAWS times for each share and fold; a class that none of the drawn
    groups has gets its first further one.

    Returns:
        The rows of the curve, and the share of the draws (SHARES, N) in which each video is right.
    """
    rows, rng = found.rows, np.random.default_rng(params.train.seed)
    labels = np.array([row.label for row in rows], np.int64)
    units = logistic.joined_units(rows)
    right = np.zeros((len(SHARES), DRAWS, len(rows)), bool)
    sizes = np.zeros((len(SHARES), DRAWS, len(found.penalties)))
    folds = range(len(found.penalties))
    for fold in progress(folds, total=len(folds), label="learning curve", unit="fold"):
        training = np.flatnonzero(found.folds != fold)
        tested = np.flatnonzero(found.folds == fold)
        for draw in range(DRAWS):
            order = rng.permutation(np.unique(units[training]))
            for index, share in enumerate(SHARES):
                used = training[np.isin(units[training], _drawn(order, units, labels, share))]
                head = logistic.fit_head(
                    features.values[used],
                    labels[used],
                    penalty=found.penalties[fold],
                    balanced=params.train.is_balanced,
                )
                probabilities = _probabilities(head, features.unmirrored[tested], temperature=1.0)
                right[index, draw, tested] = probabilities.argmax(axis=1) == labels[tested]
                sizes[index, draw, fold] = len(used)
    curve = []
    for index, share in enumerate(SHARES):
        ends = np.mean([interval_of_accuracy(each, units) for each in right[index]], axis=0)
        values = (sizes[index].mean(), right[index].mean(), *ends)
        curve.append(CurveRow(share, *(round(float(value), 4) for value in values)))
    return curve, right.mean(axis=1)


def _drawn(order: Labels, units: Labels, labels: Labels, share: float) -> Labels:
    """The first units of an order, and of each class that these lack the first one that has it."""
    chosen = list(order[: max(1, math.ceil(share * len(order)))])
    for label in np.unique(labels[np.isin(units, order)]):
        has = np.unique(units[labels == label])
        if not np.isin(chosen, has).any():
            chosen.append(order[np.isin(order, has)][0])
    return np.array(chosen, np.int64)


def gain_of_doubling(right: Floats, units: Labels) -> tuple[float, Interval]:
    """Accuracy with all training groups less that with half, and its 95 % interval over units.

    Args:
        right: of each share and video, see :func:`learning_curve`.
    """
    gain = right[FULL] - right[HALF]
    sums = np.stack([np.bincount(units, gain), np.bincount(units)], axis=1).astype(np.float64)
    totals = resampled(sums)
    return float(gain.mean()), bootstrap_interval(totals[:, 0] / totals[:, 1], num_units=len(sums))


def curve_table(curve: Sequence[CurveRow]) -> str:
    """Format the curve as a table."""
    lines = [" share  videos  top-1 accuracy"]
    lines += [
        f"{row.share:6.0%}  {row.num_videos:6.0f}  {row.accuracy:14.3f} "
        f"[{row.low:.3f}, {row.high:.3f}]"
        for row in curve
    ]
    return "\n".join(lines)


def more_videos_text(
    curve: Sequence[CurveRow], right: Floats, rows: Sequence[ClipRow], class_names: Sequence[str]
) -> str:
    """Say what more videos would do, and of which class most."""
    gain, (low, high) = gain_of_doubling(right, logistic.joined_units(rows))
    half, full = curve[HALF].num_videos, curve[FULL].num_videos
    noun = case_noun(rows)
    said = f"From {half:.0f} to {full:.0f} {noun}s the accuracy changed by {gain:+.3f}"
    ends = "" if np.isnan(low) else f" (95 % confidence interval {low:+.3f} to {high:+.3f})"
    said += f"{ends}: "
    if not low > 0:  # or unknown
        return said + f"it cannot be told that more {noun}s would help."
    labels = np.array([row.label for row in rows])
    by_class = [(right[FULL] - right[HALF])[labels == label].mean() for label in set(labels)]
    most = class_names[sorted(set(labels))[int(np.argmax(by_class))]]
    return said + (
        f"more {noun}s would probably help, twice as many by about as much or less; most of all "
        f"those of {most!r} ({max(by_class):+.3f})."
    )


def _probabilities(head: logistic.Head, features: Features, *, temperature: float) -> Floats:
    from scipy.special import softmax

    averaged: Floats = softmax(head.logits(features) / temperature, axis=2).mean(axis=1)
    return averaged
