"""Rules for what is unlike the training videos, on checkpoints and videos of other actions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.experiment import prepare
from benchmarks.report import Target, finish, format_table
from benchmarks.stage_inputs import demo_params
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import ViewPlan
from slowfast_finetune.features.extraction import Backbone, features_of
from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.model.checkpoint import Checkpoint, load_checkpoint, view_params
from slowfast_finetune.scoring.novelty import directions_of, fit_class_distances

Floats = npt.NDArray[np.float64]
Rule = Callable[[Features], Floats]  # features (M, V, D) of V views → how strange (M,)

PLAIN, OURS = "largest probability", "Mahalanobis, square roots"
ANSWERED = 0.9  # of the checkpoint's own test videos
SHRUNK = 1.0  # added to each variance, in mean variances


@dataclass(frozen=True)
class Known:
    """A model's own videos, and its last layer."""

    train: Features  # (N, D), of one view of each training video
    labels: npt.NDArray[np.int64]
    test: Features  # (M, V, D)
    weight: Features
    bias: Features
    temperature: float


def rules_of(known: Known) -> dict[str, Rule]:
    """The rules that are compared; sources are in docs/predicting.md."""
    from scipy.special import logsumexp, softmax

    def logits(x: Features) -> Features:
        found: Features = x @ known.weight.T + known.bias
        return found

    def unit(x: Features) -> Features:
        found: Features = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        return found

    def nearest(k: int, prepared: Callable[[Features], Features]) -> Rule:
        bank = prepared(known.train)
        k = min(k, len(bank))
        return mean_of_views(lambda x: distances(bank, prepared(x), k=k))

    train = unit(known.train)
    means = np.stack([train[known.labels == label].mean(axis=0) for label in set(known.labels)])
    within, overall = (
        _whitening(train - means[known.labels]),
        _whitening(train - train.mean(axis=0)),
    )

    def mahalanobis(x: Features) -> Floats:
        x = unit(x)
        each = [(((x - mean) @ within) ** 2).sum(axis=1) for mean in means]
        found: Floats = np.min(each, axis=0)
        return found

    def relative(x: Features) -> Floats:
        found: Floats = mahalanobis(x) - (((unit(x) - train.mean(axis=0)) @ overall) ** 2).sum(1)
        return found

    def confidence(views: Features) -> Floats:
        each = softmax(logits(views) / known.temperature, axis=2)
        found: Floats = -each.mean(axis=1).max(axis=1)
        return found

    root = round(len(train) ** 0.5)
    return {
        PLAIN: confidence,
        "energy": mean_of_views(lambda x: -logsumexp(logits(x), axis=1)),
        **{f"k-th nearest, k = {k}": nearest(k, unit) for k in (1, 5, 50)},
        "k-th nearest, k = √N": nearest(root, unit),
        "k-th nearest, square roots, k = √N": nearest(root, directions_of),
        "Mahalanobis": of_mean(mahalanobis),
        "relative Mahalanobis": of_mean(relative),
        OURS: of_mean(fit_class_distances(known.train, known.labels).novelty),
    }


def mean_of_views(rule: Callable[[Features], Floats]) -> Rule:
    """Judge each view (M x V, D), and take the mean of each video."""
    return lambda views: rule(views.reshape(-1, views.shape[2])).reshape(views.shape[:2]).mean(1)


def of_mean(rule: Callable[[Features], Floats]) -> Rule:
    """Judge the mean features of each video (M, D)."""
    return lambda views: rule(views.mean(axis=1))


def distances(known: Features, found: Features, *, k: int) -> Floats:
    """Distance (M,) of each of M unit vectors to the k-th nearest of the known ones (N, D)."""
    cosines = np.partition(found @ known.T, len(known) - k, axis=1)[:, len(known) - k]
    distances: Floats = np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0.0))
    return distances


def _whitening(residuals: Features) -> Features:
    sizes, axes = np.linalg.eigh(residuals.T @ residuals / len(residuals))
    sizes = np.maximum(sizes, 0)
    whitening: Features = axes / np.sqrt(sizes + SHRUNK * sizes.mean())
    return whitening


def judge(known: Known, strangers: Mapping[str, Features]) -> dict[str, dict[str, list[float]]]:
    """For each rule and set: AUROC, and the share answered when 90 % of own test videos are."""
    from sklearn.metrics import roc_auc_score

    found: dict[str, dict[str, list[float]]] = {}
    for name, rule in rules_of(known).items():
        own = rule(known.test)
        limit = np.quantile(own, ANSWERED)
        found[name] = {}
        for which, features in strangers.items():
            strange = rule(features)
            truth = np.repeat([0, 1], [len(own), len(strange)])
            auroc = float(roc_auc_score(truth, np.concatenate([own, strange])))
            found[name][which] = [auroc, float((strange <= limit).mean())]
    return found


def run(
    *, checkpoints: Sequence[Path], strangers: Sequence[Path], store: Path | None, out: Path
) -> None:
    """Compare the rules on every checkpoint, print a table, write strangers.json."""
    with tempfile.TemporaryDirectory(prefix="strangers-") as temporary:
        results = {
            str(path): _measured(load_checkpoint(path), strangers, store or Path(temporary))
            for path in checkpoints
        }
    print(table(list(results.values())))
    shares = {
        rule: np.mean([sets[rule][which][1] for sets in results.values() for which in sets[rule]])
        for rule in (PLAIN, OURS)
    }
    name = f"share of strangers answered, {OURS} / {PLAIN}"
    target = Target(name, 0.5, float(shares[OURS] / shares[PLAIN]), at_most=True)
    finish("strangers", out=out, results=results, targets=[target])


def table(results: Sequence[Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    """Rules by means over checkpoints: AUROC and share answered of each set, and of all."""
    sets = list(dict.fromkeys(which for found in results for which in found[PLAIN]))
    lines = []
    for rule in results[0]:
        pairs = {w: np.array([f[rule][w] for f in results if w in f[rule]]) for w in sets}
        total = np.concatenate(list(pairs.values())).mean(axis=0)
        cells = [*(values.mean(axis=0) for values in pairs.values()), total]
        lines.append([rule, *(f"{auroc:.2f} · {share:.0%}" for auroc, share in cells)])
    return format_table(["rule: AUROC · answered", *sets, "mean"], lines)


def _measured(checkpoint: Checkpoint, strangers: Sequence[Path], store: Path) -> Any:
    data = checkpoint.params["data"]
    data = {**data, "videos": str(Path(data["videos"]).resolve())}  # as seen from the project
    own = _rows(checkpoint, store, data)
    sets = {
        folder.name: _rows(checkpoint, store, {"videos": str(folder), "group_pattern": None})
        for folder in strangers
    }
    if data["exclude"]:
        everything = _rows(checkpoint, store, {**data, "exclude": []})
        unknown = [row for row in everything if row.class_name not in checkpoint.class_names]
        sets["the class left out"] = unknown
    train, test = ([row for row in own if row.split == split] for split in ("train", "test"))
    _, views = view_params(checkpoint)
    plan = ViewPlan(views.temporal_views, views.spatial_crops)
    known = Known(
        train=_features(checkpoint, train, ViewPlan(), store)[:, 0],
        labels=np.array([row.label for row in train], np.int64),
        test=_features(checkpoint, test, plan, store),
        weight=checkpoint.model_state["blocks.6.proj.weight"].numpy(),
        bias=checkpoint.model_state["blocks.6.proj.bias"].numpy(),
        temperature=checkpoint.temperature,
    )
    features = {name: _features(checkpoint, rows, plan, store) for name, rows in sets.items()}
    return judge(known, features)


def _params(checkpoint: Checkpoint, data: Mapping[str, Any]) -> Params:
    return demo_params(
        clip=checkpoint.params["clip"],
        cache={"max_rejected_fraction": 1.0},
        data={"group_pattern": None, **data},
    )


def _rows(checkpoint: Checkpoint, store: Path, data: Mapping[str, Any]) -> list[ClipRow]:
    return prepare(_params(checkpoint, data), store)


def _features(
    checkpoint: Checkpoint, rows: Sequence[ClipRow], plan: ViewPlan, store: Path
) -> Features:
    """Features of the views of each video, (N, V, D)."""
    params = _params(checkpoint, {})
    return features_of(
        rows,
        Backbone.of(checkpoint),
        views=plan,
        clips=ClipStore(store, params.clip).folder,
        runtime=params.runtime,
    ).values
