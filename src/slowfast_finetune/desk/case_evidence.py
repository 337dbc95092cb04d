"""What is known of labelled cases and of unlabelled videos: probabilities, likeness, copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from slowfast_finetune.base.console import progress, say
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.features.likeness import nearest
from slowfast_finetune.features.logistic import fit_head, held_out_probabilities
from slowfast_finetune.inspection.duplicates import exact_copies, near_copies
from slowfast_finetune.inspection.label_errors import cross_predict
from slowfast_finetune.inspection.video_summary import VideoSummary, summarise_entry
from slowfast_finetune.scoring.metrics import Floats, Labels

# Why a case is shown.
Reason = Literal[
    "doubtful",  # held-out probabilities speak against its label, or least for it
    "confident mistake",  # the run's model is sure of another class
    "near copy",  # another label than a near copy of it has
    "unlabelled",  # has no label; uncertain, and unlike the others that are asked about
    "random",  # drawn at random, to estimate the share of wrong labels
]


Neighbour = tuple[ClipRow, float]  # a labelled case, and the cosine of the angle to its features
NUM_NEIGHBOURS = 5


@dataclass(frozen=True)
class Unlabelled:
    """What is known of M videos without labels."""

    rows: Sequence[ClipRow]
    features: Features  # means over the views, (M, D)
    probabilities: Floats  # (M, classes)
    neighbours: Sequence[tuple[Neighbour, ...]]  # labelled cases


@dataclass(frozen=True)
class CaseEvidence:
    """What is known of N labelled cases."""

    rows: Sequence[ClipRow]
    class_names: Sequence[str]  # by label
    probabilities: Floats  # held out, (N, classes); a row is NaN where nothing is known
    neighbours: Sequence[tuple[Neighbour, ...]]  # other labelled cases; none without a checkpoint
    copies: Sequence[Sequence[int]]  # positions of the cases that are near copies of each other
    unlabelled: Unlabelled | None = None


def by_pictures(
    rows: Sequence[ClipRow], class_names: Sequence[str], *, store: ClipStore
) -> CaseEvidence:
    """Predict cases by the doctor's simple model of other cases' tiny pictures."""
    summaries = _summaries(rows, store)
    probabilities = np.full((len(rows), len(class_names)), np.nan)
    if (found := cross_predict(summaries)) is not None:
        position = {row.case: index for index, row in enumerate(rows)}
        inside = [position[video.case] for video in found.videos]
        probabilities[inside] = 0
        probabilities[np.ix_(inside, found.classes)] = found.probabilities
    copies = _copies(summaries, range(len(rows)))
    return CaseEvidence(rows, class_names, probabilities, [()] * len(rows), copies)


def mean_features(
    rows: Sequence[ClipRow], *, params: Params, store: ClipStore, path: Path
) -> Features:
    """A checkpoint's features, means over the views (N, D); computes what is not in the store.

    One mean a video judges labels as well as all views do, in a third of the time.
    """
    from slowfast_finetune.features.extraction import Backbone, features_of, probe_views
    from slowfast_finetune.model.checkpoint import load_checkpoint

    found = features_of(
        rows,
        Backbone.of(load_checkpoint(path)),
        views=probe_views(params.train, params.augment),  # whose features are there already
        clips=store.folder,
        runtime=params.runtime,
    )
    means: Features = found.values.mean(axis=1)
    return means


def by_features(
    rows: Sequence[ClipRow],
    class_names: Sequence[str],
    others: Sequence[ClipRow],
    *,
    params: Params,
    store: ClipStore,
    path: Path,
) -> CaseEvidence:
    """Predict cases by heads on a checkpoint's features that have not seen their groups.

    Args:
        others: unlabelled videos, predicted by a head that has seen all labelled cases.
        path: of the checkpoint.
    """
    from scipy.special import softmax

    means = mean_features([*rows, *others], params=params, store=store, path=path)
    of_cases, of_others = means[: len(rows)], means[len(rows) :]
    balanced = params.train.is_balanced
    labels = labels_of(rows)
    try:
        probabilities, penalty = held_out_probabilities(
            rows, of_cases, balanced=balanced, seed=params.data.split_seed
        )
    except DataError as error:
        say(f"WARNING: no labels are put in doubt by the model: {error}")
        probabilities, penalty = np.full((len(rows), len(class_names)), np.nan), 1.0
    unlabelled = None
    if others:
        head = fit_head(of_cases[:, None], labels, penalty=penalty, balanced=balanced)
        predicted: Floats = softmax(head.logits(of_others), axis=1)
        like = _neighbours(rows, *nearest(of_others, of_cases, k=NUM_NEIGHBOURS))
        unlabelled = Unlabelled(others, of_others, predicted, like)
    positions, cosines = nearest(of_cases, of_cases, k=NUM_NEIGHBOURS, but_itself=True)
    # A near copy is among the nearest, and only copies of several classes are looked for.
    mixed = (labels[positions] != labels[:, None]).any(axis=1)
    suspected = np.flatnonzero(mixed).tolist()
    copies = _copies(_summaries([rows[position] for position in suspected], store), suspected)
    neighbours = _neighbours(rows, positions, cosines)
    return CaseEvidence(rows, class_names, probabilities, neighbours, copies, unlabelled)


def _summaries(rows: Sequence[ClipRow], store: ClipStore) -> list[VideoSummary]:
    shown = progress(rows, total=len(rows), label="comparing")
    return [summarise_entry(row, store)[0] for row in shown]


def _copies(summaries: Sequence[VideoSummary], positions: Sequence[int]) -> list[list[int]]:
    sets = [*exact_copies(summaries), *near_copies(summaries)]
    return [[positions[index] for index in indices] for indices in sets]


def labels_of(rows: Sequence[ClipRow]) -> Labels:
    return np.array([row.label for row in rows], np.int64)


def _neighbours(
    rows: Sequence[ClipRow], positions: Labels, cosines: Features
) -> list[tuple[Neighbour, ...]]:
    return [
        tuple((rows[position], cosine) for position, cosine in zip(found, values, strict=True))
        for found, values in zip(positions.tolist(), cosines.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Case:
    """What the desk shows of a case."""

    row: ClipRow  # without a label its class is "", and its split train, which it would join
    reason: Reason
    score: float  # how much the case is worth looking at, among those of its reason; higher first
    # Classes and their probabilities, the most probable first; empty if nothing predicted it.
    guesses: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def name(self) -> str:
        """The name of the case, see :func:`manifest_table.case_name`."""
        return self.row.case
