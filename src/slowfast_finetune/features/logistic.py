"""Multinomial logistic regression on features, and its strength by cross-validation. Pure."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.scoring.calibration import Calibration, calibrate
from slowfast_finetune.scoring.metrics import Floats, Labels, score

NUM_FOLDS = 5
# Weight λ of ‖W‖²/2 beside the mean cross-entropy; from where nothing is learned to where all is.
PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
# From so many videos on fewer folds and a coarser fit, each of which halves the time, and stronger
# penalties only where the strongest of the weaker ones is the best, which saves a third of a path.
MANY_VIDEOS, FEWER_FOLDS = 5_000, 3
STRONGER, WEAKER = PENALTIES[:4], PENALTIES[4:]
# A fit stops where no component of the gradient of the mean loss is larger.
_TOLERANCE, _COARSER = 1e-4, 1e-3
_MAX_STEPS = 300


@dataclass(frozen=True)
class Head:
    """A linear classifier of features as the network computes them: x W.T + b."""

    weight: Floats  # float64 (classes, D)
    bias: Floats  # float64 (classes,)

    def logits(self, features: Features) -> Floats:
        """Logits (…, classes) of features (…, D)."""
        return features @ self.weight.T.astype(np.float32) + self.bias


@dataclass(frozen=True)
class PenaltyResult:
    """What cross-validation found for one penalty."""

    penalty: float
    train: dict[str, float]  # loss and scores of each fold's training videos, see judge
    val: dict[str, float]  # those of the videos left out
    logits: Floats  # of each video by the head that has not seen its group: (N, V, classes)


def fit_path(
    features: Features,
    labels: Labels,
    *,
    penalties: Sequence[float],
    balanced: bool,
) -> Iterator[Head]:
    """Fit a head for each penalty, each starting from the last two weights, extrapolated.

    Minimises Σ w cross-entropy / Σ w + λ ‖W‖² / 2 over standardised features (mean 0, variance 1;
    constant ones stay 0) by L-BFGS, then folds the standardisation into W and b. The bias has no
    penalty. Every view counts 1/V of its video; with ``balanced`` a video counts N / (classes ×
    videos of its class). To many videos it is fitted less closely.

    Args:
        features: float32 (N, V, D).
        labels: (N,), each class from 0 up at least once, at least two.
    """
    from sklearn.linear_model import LogisticRegression

    num_videos, num_views, _ = features.shape
    samples = features.reshape(num_videos * num_views, -1)
    mean = samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    scaled = samples - mean
    del features, samples  # this generator outlives its first step, and many videos are large
    spread = np.sqrt(np.square(scaled).mean(axis=0, dtype=np.float64)).astype(np.float32)
    spread[spread <= 1e-6 * np.abs(mean)] = np.inf
    scaled /= spread
    counts = np.bincount(labels)
    weights = (num_videos / (len(counts) * counts))[labels] if balanced else np.ones(num_videos)
    # Two classes are one logistic function of w = W[1] - W[0], and ‖W‖² = ‖w‖² / 2.
    scale = num_videos / 2 if len(counts) == 2 else num_videos
    # The best weights lie in the space of the samples: with fewer of these, it is the smaller one.
    basis = None
    if len(scaled) < scaled.shape[1]:
        basis, _ = np.linalg.qr(scaled.T)
        scaled = scaled @ basis
    tolerance = _TOLERANCE if num_videos < MANY_VIDEOS else _COARSER
    model = LogisticRegression(tol=tolerance, max_iter=_MAX_STEPS, warm_start=True)
    before: Floats | float = 0.0
    for penalty in penalties:
        model.set_params(C=1 / (penalty * scale))
        model.fit(
            scaled,
            np.repeat(labels, num_views),
            sample_weight=np.repeat(weights / num_views, num_views),
        )
        weight, bias = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
        if basis is not None:
            weight = weight @ basis.T
        if len(counts) == 2:
            weight, bias = np.vstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2
        # With penalties in even ratios this saves a fifth of the steps. The second fit starts from
        # twice the first.
        before, model.coef_ = model.coef_, 2 * model.coef_ - before
        yield Head(weight / spread, bias - (weight / spread) @ mean)


def fit_head(features: Features, labels: Labels, *, penalty: float, balanced: bool) -> Head:
    """Fit a head of one penalty; as :func:`fit_path`."""
    with fitting():
        (head,) = fit_path(features, labels, penalties=[penalty], balanced=balanced)
    return head


@contextmanager
def fitting() -> Iterator[None]:
    """Let each fit compute in one thread, and stop at the last step without a warning.

    The threads of BLAS wait for one another in busy loops: where other threads or programs want the
    cores, a fit to few videos took a hundred times longer.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def cross_validate(
    features: Features, labels: Labels, folds: Labels, *, num_views: int, balanced: bool
) -> list[PenaltyResult]:
    """Judge penalties, from the strongest on, by the videos that are left out of each fold.

    Ends where the loss of these has risen twice in a row: what follows takes longest. Of many
    videos the weaker penalties alone are judged, unless the strongest of these is the best.

    Args:
        features: float32 (N, V, D); all views are learned from.
        folds: the fold (N,) in which each video is left out, see :func:`deal_folds`.
        num_views: the first so many views are judged: those that are not mirrored.
    """
    trained = [folds != fold for fold in range(int(folds.max()) + 1)]
    shown = features[:, :num_views]

    def judged(penalties: Sequence[float]) -> list[PenaltyResult]:
        """Judge these penalties, in their order."""
        paths = [
            fit_path(features[inside], labels[inside], penalties=penalties, balanced=balanced)
            for inside in trained
        ]
        results: list[PenaltyResult] = []
        with fitting(), ThreadPoolExecutor(len(paths)) as pool:
            for penalty in penalties:
                each = list(pool.map(lambda path: next(path).logits(shown), paths))
                left_out, seen = np.zeros_like(each[0]), []
                for logits, inside in zip(each, trained, strict=True):
                    left_out[~inside] = logits[~inside]
                    seen.append((logits[inside], labels[inside]))
                train = judge(*(np.concatenate(parts) for parts in zip(*seen, strict=True)))
                results.append(PenaltyResult(penalty, train, judge(left_out, labels), left_out))
                losses = [result.val["loss"] for result in results[-3:]]
                if len(losses) == 3 and losses[0] < losses[1] < losses[2]:
                    break
        return results

    if len(labels) < MANY_VIDEOS:
        return judged(PENALTIES)
    results = judged(WEAKER)
    return results if best_of(results) > 0 else [*judged(STRONGER), *results]


def judge(logits: Floats, labels: Labels) -> dict[str, float]:
    """``loss``, the mean cross-entropy of the views, and the scores of the videos.

    Args:
        logits: (N, V, classes); a video's probabilities are averaged over its views.
    """
    from scipy.special import log_softmax

    each = log_softmax(logits, axis=2)
    loss = -each[np.arange(len(labels)), :, labels].mean()
    return {"loss": float(loss), **score(labels, np.exp(each).mean(axis=1).argmax(axis=1))}


def best_of(results: Sequence[PenaltyResult]) -> int:
    """The position of the lowest loss of videos left out; of several, the strongest penalty."""
    return int(np.argmin([result.val["loss"] for result in results]))


def joined_units(rows: Sequence[ClipRow]) -> Labels:
    """Number (N,) what must not be torn apart: videos of one group, and copies of one content."""
    from scipy.cluster.hierarchy import DisjointSet

    joined = DisjointSet(row.content_hash for row in rows)
    for row in rows:
        if row.group:
            joined.add(f"group {row.group}")
            joined.merge(row.content_hash, f"group {row.group}")
    numbers: dict[str, int] = defaultdict(lambda: len(numbers))
    return np.array([numbers[joined[row.content_hash]] for row in rows], np.int64)


def deal_folds(
    rows: Sequence[ClipRow], *, num_folds: int = NUM_FOLDS, seed: int, groups_left: int = 1
) -> Labels:
    """Deal videos to folds (N,): groups whole, classes even, each class in every training part.

    There are as many folds as the class with the fewest groups has groups, at most ``num_folds``;
    more where no other deal is found.

    Args:
        groups_left: so many groups of each class every training part has at least.

    Raises:
        DataError: a class lies in no more groups than that.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = np.array([row.label for row in rows], np.int64)
    units = joined_units(rows)
    names = {row.label: row.class_name for row in rows}
    units_of = {label: np.unique(units[labels == label]) for label in names}
    rarest = min(names, key=lambda label: (len(units_of[label]), label))
    fewest = len(units_of[rarest])
    if fewest <= groups_left:
        lies = f"{fewest} groups" if fewest > 1 else "one group"
        raise DataError(
            f"class {names[rarest]!r} lies in {lies} alone, and leaving folds out takes "
            f"{groups_left + 1}: add videos of another group, or remove the class"
        )
    fold_of = np.zeros(units.max() + 1, np.int64)
    dealer = StratifiedGroupKFold(min(num_folds, fewest), shuffle=True, random_state=seed)
    for number, (_, left_out) in enumerate(dealer.split(labels, labels, units)):
        fold_of[units[left_out]] = number

    def lacking(fold_of: Labels) -> Counter[int]:
        """How many groups of each class are missing from training parts."""
        held = {label: np.bincount(fold_of[own]) for label, own in units_of.items()}
        return +Counter(
            {label: int((n - n.sum() + groups_left).clip(0).sum()) for label, n in held.items()}
        )

    # The smallest group moves that helps most: to a new fold, where none helps in the others, as it
    # always does there.
    sizes = np.bincount(units)
    while missing := lacking(fold_of):
        moves = []
        for unit in units_of[min(missing)]:
            for fold in range(fold_of.max() + 2):
                moved = fold_of.copy()
                moved[unit] = fold
                if (number := lacking(moved).total()) < missing.total():
                    moves.append(((fold > fold_of.max(), number, sizes[unit]), moved))
        fold_of = min(moves, key=lambda move: move[0])[1]
    return fold_of[units]


@dataclass(frozen=True)
class Probe:
    """A head fitted to all of some videos, its strength and calibration by cross-validation."""

    head: Head
    results: Sequence[PenaltyResult]  # of the penalties tried, the strongest first
    best: int  # position of the one that was chosen
    num_folds: int  # of the cross-validation
    calibration: Calibration  # of the logits of videos left out, each shown once, its middle view


def fit_probe(
    rows: Sequence[ClipRow], features: Features, *, num_views: int, balanced: bool, seed: int
) -> Probe:
    """Choose the penalty by group-aware cross-validation, calibrate, and fit to all rows.

    The penalty with the lowest cross-entropy of videos left out is chosen; temperature and
    threshold are fitted to the logits of these, as scikit-learn's ``CalibratedClassifierCV`` with
    ``ensemble=False`` does.

    Args:
        features: float32 (N, V, D) of these rows.
        num_views: of these, the ones that are not mirrored, which come first.

    Raises:
        DataError: as :func:`deal_folds`; or the features are not finite, or all alike.
    """
    check_features(rows, features)
    labels = np.array([row.label for row in rows], np.int64)
    num_folds = NUM_FOLDS if len(rows) < MANY_VIDEOS else FEWER_FOLDS
    folds = deal_folds(rows, num_folds=num_folds, seed=seed)
    results = cross_validate(features, labels, folds, num_views=num_views, balanced=balanced)
    best = best_of(results)
    head = fit_head(features, labels, penalty=results[best].penalty, balanced=balanced)
    logits = results[best].logits[:, num_views // 2].astype(np.float32)
    found = calibrate(logits, labels)
    return Probe(head, results, best, int(folds.max()) + 1, found)


def check_features(rows: Sequence[ClipRow], features: Features) -> None:
    """Refuse features (N, V, D) to which no head can be fitted.

    Raises:
        DataError: some are not finite, or all are alike.
    """
    finite = np.isfinite(features).all(axis=(1, 2))
    if not finite.all():
        raise DataError(
            f"{rows[int(finite.argmin())].case}: its features are not finite; are these the "
            "weights of a trained network?"
        )
    if not (np.ptp(features, axis=(0, 1)) > 0).any():
        raise DataError(
            f"the features of all {len(rows)} videos are alike, so that no class can be told; are "
            "these the weights of a trained network?"
        )


def held_out_probabilities(
    rows: Sequence[ClipRow], features: Features, *, balanced: bool, seed: int
) -> tuple[Floats, float]:
    """Predict every video by a head that has not seen its group.

    Args:
        features: means over the views, float32 (N, D), of these rows.

    Returns:
        Probabilities (N, classes), of the labels that occur, ascending; and the penalty of the
        heads: that with the lowest loss.

    Raises:
        DataError: as :func:`check_features` and :func:`deal_folds`.
    """
    from scipy.special import softmax

    check_features(rows, features[:, None])
    labels = np.unique([row.label for row in rows], return_inverse=True)[1]
    folds = deal_folds(rows, seed=seed)
    results = cross_validate(features[:, None], labels, folds, num_views=1, balanced=balanced)
    best = best_of(results)
    probabilities: Floats = softmax(results[best].logits[:, 0], axis=1)
    return probabilities, results[best].penalty
