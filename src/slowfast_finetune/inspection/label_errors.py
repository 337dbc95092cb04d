"""Find labels that disagree with the video content.

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 70, 2021, arXiv 1911.00068) on probabilities of models that have not seen the
video: a video counts as class j if j is its most probable other class, and its probability reaches
the mean probability of j among the videos labelled j. Of these only the surest are reported.

Labels are ranked by the normalised margin (section 3.2 there; Kuan and Mueller, "Model-agnostic
label quality scoring to detect real-world label errors", ICML DataPerf workshop 2022), which
``cleanlab.rank`` computes in the same way; benchmarks/README.md compares it with other orders.
"""

import itertools
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.manifest_table import case_noun
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow
from slowfast_finetune.evaluation.metadata_baseline import (
    NUM_FOLDS,
    compare_with_chance,
    fold_units,
    folds,
)
from slowfast_finetune.features.feature_store import find_stored, read_means
from slowfast_finetune.features.logistic import held_out_probabilities
from slowfast_finetune.inspection.findings import Finding, make_finding
from slowfast_finetune.inspection.video_summary import THUMBNAIL_SIDE, VideoSummary, sample
from slowfast_finetune.scoring.metrics import Floats, Labels, negative_log_likelihood

MOTION_SIDE = 6  # cells per side of the motion map
NUM_COMPONENTS = 60  # principal components of the features
MIN_OF_CLASS = NUM_FOLDS  # so that each fold of the cross-validation can hold one
MIN_VIDEOS = 20  # in all; two classes need at least 16 to reach MIN_ERRORS
# The next six were chosen on the two collections of docs/doctor.md, "Labels": none of the correct
# labels of the first is suspected, and the second, which is too hard for the model, yields nothing.
MIN_SKILL = 0.3  # (balanced accuracy - chance) / (1 - chance) below which the model is not trusted
MIN_ERRORS = 4.0  # standard errors above chance below which the model is not trusted
SURE_QUANTILE = 0.75  # a suspect's margin must reach this quantile of the right answers' margins
# By features right answers are surer. Of wrong labels planted in the demo and in six classes of
# UCF101 this finds about twice as many as 0.75; benchmarks/README.md, "labels".
SURE_BY_FEATURES = 0.5
MIN_MARGIN = 0.3  # and at least this difference of probabilities
ALIKE = 0.62  # balanced accuracy between two classes up to which they cannot be distinguished
APART = 0.8  # the same, from which they can
# Above this share of suspects, distrust the model instead. Twice the largest share of label errors
# in ten public test sets, 10.1 % of QuickDraw (Northcutt, Athalye and Mueller, "Pervasive Label
# Errors in Test Sets Destabilize Machine Learning Benchmarks", NeurIPS 2021).
MAX_SUSPECTS = 0.2


@dataclass(frozen=True)
class CrossPrediction:
    """Probabilities of N videos by models that were not fitted to them."""

    videos: list[VideoSummary]
    labels: Labels  # (N,)
    probabilities: Floats  # (N, classes), in the order of ``classes``
    classes: list[int]  # the labels that occur, ascending
    # By heads on a network's features; else by a simple model of pictures.
    by_features: bool = False


def label_findings(predicted: CrossPrediction | None) -> list[Finding]:
    """Report videos and classes that may be mislabelled, if the predictions are reliable."""
    if predicted is None:
        return []
    return [*_alike_classes(predicted), *(_mislabelled(predicted) if _reliable(predicted) else [])]


def predict_by_features(
    videos: Sequence[VideoSummary], clips: Path, *, params: Params, root: Path
) -> CrossPrediction | None:
    """Predict each video by heads on stored features of others, in folds that keep groups whole.

    Of several networks whose features are there, that one counts whose heads predict with the
    lowest cross-entropy.

    Args:
        clips: ``data/clips.csv``.
        root: folder of the clip stores.

    Returns:
        None if the feature store has no network's features of all these videos; and, with a line on
        stderr, if a file is damaged or a class lies in too few groups.
    """
    try:
        return _by_features(sample(videos), CLIPS.read_rows(clips), params=params, root=root)
    except DataError as error:
        print(f"labels are judged without features: {error}", file=sys.stderr)
        return None


def _by_features(
    videos: list[VideoSummary], rows: Sequence[ClipRow], *, params: Params, root: Path
) -> CrossPrediction | None:
    row_of = {(row.case, row.content_hash): row for row in rows}
    known = [row_of.get((video.case, video.content_hash)) for video in videos]
    stored = [
        row._replace(label=video.label, class_name=video.class_name, group=video.group)
        for video, row in zip(videos, known, strict=True)
        if row is not None
    ]
    found = [places for places in find_stored(stored, root).values() if len(places) == len(videos)]
    classes, own = np.unique([video.label for video in videos], return_inverse=True)
    if not found or len(classes) < 2:
        return None
    balanced, seed = params.train.is_balanced, params.data.split_seed
    each = [
        held_out_probabilities(stored, read_means(stored, places), balanced=balanced, seed=seed)[0]
        for places in found
    ]
    best = min(each, key=lambda p: negative_log_likelihood(own, p).mean())
    return CrossPrediction(videos, classes[own], best, classes.tolist(), by_features=True)


def cross_predict(videos: Sequence[VideoSummary]) -> CrossPrediction | None:
    """Predict each video from the tiny pictures of others; None if there are too few videos."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = Counter(video.label for video in videos)
    videos = sample([video for video in videos if counts[video.label] >= MIN_OF_CLASS])
    classes = sorted({video.label for video in videos})
    if len(videos) < MIN_VIDEOS or len(classes) < 2:
        return None
    labels = np.array([video.label for video in videos], np.int64)
    units = fold_units(videos)
    fewest = min(len(set(units[labels == label].tolist())) for label in classes)
    if fewest < 2:
        return None
    parts = folds(labels, units, count=min(NUM_FOLDS, fewest))
    if min(len(set(labels[inside].tolist())) for inside, _ in parts) < 2:
        return None
    features = _features(videos)
    components = min(NUM_COMPONENTS, features.shape[1], *(len(inside) for inside, _ in parts))
    model = make_pipeline(
        StandardScaler(),
        PCA(components, random_state=0),
        StandardScaler(),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
    )
    with warnings.catch_warnings():
        # scikit-learn warns if a class is only in one fold; its probability there is 0.
        warnings.filterwarnings("ignore", message="Number of classes in training fold")
        probabilities = cross_val_predict(model, features, labels, cv=parts, method="predict_proba")
    return CrossPrediction(videos, labels, probabilities, classes)


def _features(videos: Sequence[VideoSummary]) -> Floats:
    """Describe background, colours, and where and when there is motion, float64 (N, D)."""
    rows = []
    for video in videos:
        frames = video.thumbnails.astype(np.float64)
        still = np.median(frames, axis=0)
        # The difference from the background locates the person, that from the last frame motion.
        away = _cells(np.abs(frames - still))
        steps = _cells(np.abs(np.diff(frames, axis=0)))
        moving = np.log1p(np.concatenate([away, steps, away.mean(axis=0, keepdims=True)]))
        rows.append(
            np.concatenate([still[::2, ::2].ravel(), video.colours.ravel(), moving.ravel()])
        )
    return np.array(rows, np.float64)


def _cells(pictures: Floats) -> Floats:
    """Average each picture over a coarse grid, float64 (N, 6, 6)."""
    cell = THUMBNAIL_SIDE // MOTION_SIDE
    shape = (len(pictures), MOTION_SIDE, cell, MOTION_SIDE, cell)
    return np.asarray(pictures.reshape(shape).mean(axis=(2, 4)), np.float64)


def _reliable(predicted: CrossPrediction) -> bool:
    """Tell whether the predictions are clearly and significantly better than chance."""
    chance = 1 / len(predicted.classes)
    best = np.array(predicted.classes)[predicted.probabilities.argmax(axis=1)]
    accuracy, errors = compare_with_chance(predicted.labels, best, fold_units(predicted.videos))
    return (accuracy - chance) / (1 - chance) >= MIN_SKILL and errors >= MIN_ERRORS


def margins(probabilities: Floats, labels: Labels) -> Floats:
    """Highest probability of another class less that of the own (N,), from -1 to 1.

    Args:
        labels: columns of the probabilities (N, classes).
    """
    own = np.arange(len(labels)), labels
    others = probabilities.copy()
    others[own] = -np.inf
    found: Floats = others.max(axis=1) - probabilities[own]
    return found


def suspects(predicted: CrossPrediction) -> list[tuple[int, int]]:
    """Find videos that count as another class: their positions and that label, surest first."""
    own = np.searchsorted(predicted.classes, predicted.labels)
    rows, others = np.arange(len(own)), predicted.probabilities.copy()
    thresholds = np.array([others[own == column, column].mean() for column in np.unique(own)])
    scores = margins(others, own)
    others[rows, own] = -np.inf
    other = others.argmax(axis=1)
    counts = others[rows, other] >= thresholds[other]
    suspected = counts & (scores >= _sure_margin(predicted, own))
    found = sorted(np.flatnonzero(suspected).tolist(), key=lambda i: -scores[i])
    return [(i, predicted.classes[int(other[i])]) for i in found]


def _sure_margin(predicted: CrossPrediction, own: Labels) -> float:
    """Return a high quantile of the margin between the two best classes, over right answers."""
    best = np.sort(predicted.probabilities, axis=1)
    right = predicted.probabilities.argmax(axis=1) == own
    margins = (best[:, -1] - best[:, -2])[right]
    quantile = SURE_BY_FEATURES if predicted.by_features else SURE_QUANTILE
    return max(MIN_MARGIN, float(np.quantile(margins, quantile))) if len(margins) else 1.0


def _mislabelled(predicted: CrossPrediction) -> Iterator[Finding]:
    found = suspects(predicted)
    if not found or len(found) > MAX_SUSPECTS * len(predicted.videos):
        return
    videos = [predicted.videos[i] for i, _ in found]
    names = {video.label: video.class_name for video in predicted.videos}
    alike = [names[label] for _, label in found]
    moves = Counter(zip([video.class_name for video in videos], alike, strict=True))
    yield make_finding(
        "mislabelled",
        "warning",
        [video.case for video in videos],
        suspects=len(found),
        noun=case_noun(videos),
        moves=[f"{number} of {one} like {other}" for (one, other), number in moves.most_common()],
        first=videos[0].case,
        alike=alike[0],
        by_features=predicted.by_features,
    )


def _alike_classes(predicted: CrossPrediction) -> Iterator[Finding]:
    """Report pairs of classes that the model confuses although it separates both from others."""
    if len(predicted.classes) < 3:
        return
    accuracies = {
        frozenset(pair): _pair_accuracy(predicted, *pair)
        for pair in itertools.combinations(range(len(predicted.classes)), 2)
    }
    names = {video.label: video.class_name for video in predicted.videos}
    for pair, accuracy in accuracies.items():
        others = min(found for other, found in accuracies.items() if other != pair and other & pair)
        if accuracy <= ALIKE and others >= APART:
            one, other = (names[predicted.classes[column]] for column in sorted(pair))
            yield make_finding(
                "alike-classes",
                "warning",
                [v.case for v in predicted.videos if v.class_name in (one, other)],
                one=one,
                other=other,
                others=others,
                accuracy=accuracy,
                by_features=predicted.by_features,
            )


def _pair_accuracy(predicted: CrossPrediction, one: int, other: int) -> float:
    """Compute the balanced accuracy if only these two classes, by column, are possible."""
    recalls = []
    for column, rival in ((one, other), (other, one)):
        own = predicted.probabilities[predicted.labels == predicted.classes[column]]
        recalls.append(float((own[:, column] > own[:, rival]).mean()))
    return sum(recalls) / 2
