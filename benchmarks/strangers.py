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
from slowfast_finetune.model.checkpoint import Checkpoint, load_checkpoint
from slowfast_finetune.scoring.novelty import directions_of, distances, neighbour_rank

Floats = npt.NDArray[np.float64]
Rule = Callable[[Features], Floats]  # features (M, D) → how strange (M,)

TODAY, OURS = "largest probability", "k-th nearest, square roots, k = √N"
ANSWERED = 0.9  # of the checkpoint's own test videos
SHRUNK = 1.0  # added to each variance, in mean variances


@dataclass(frozen=True)
class Known:
    """A model's own videos: features (N, D) and labels of the training videos; its last layer."""

    train: Features
    labels: npt.NDArray[np.int64]
    test: Features
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
        return lambda x: distances(bank, prepared(x), k=min(k, len(bank)))

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

    root = neighbour_rank(len(train))
    return {
        TODAY: lambda x: -softmax(logits(x) / known.temperature, axis=1).max(axis=1),
        "energy": lambda x: -logsumexp(logits(x), axis=1),
        "Mahalanobis": mahalanobis,
        "relative Mahalanobis": relative,
        **{f"k-th nearest, k = {k}": nearest(k, unit) for k in (1, 5, 50)},
        "k-th nearest, k = √N": nearest(root, unit),
        OURS: nearest(root, directions_of),
    }


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
        for rule in (TODAY, OURS)
    }
    name = f"share of strangers answered, {OURS} / {TODAY}"
    target = Target(name, 0.5, float(shares[OURS] / shares[TODAY]), at_most=True)
    finish("strangers", out=out, results=results, targets=[target])


def table(results: Sequence[Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    """Rules by means over checkpoints: AUROC and share answered of each set, and of all."""
    sets = list(dict.fromkeys(which for found in results for which in found[TODAY]))
    lines = []
    for rule in results[0]:
        pairs = {w: np.array([f[rule][w] for f in results if w in f[rule]]) for w in sets}
        total = np.concatenate(list(pairs.values())).mean(axis=0)
        cells = [*(values.mean(axis=0) for values in pairs.values()), total]
        lines.append([rule, *(f"{auroc:.2f} · {share:.0%}" for auroc, share in cells)])
    return format_table(["rule: AUROC · answered", *sets, "mean"], lines)


def _measured(checkpoint: Checkpoint, strangers: Sequence[Path], store: Path) -> Any:
    own = _rows(checkpoint, store, checkpoint.params["data"])
    sets = {
        folder.name: _rows(checkpoint, store, {"videos": str(folder), "group_pattern": None})
        for folder in strangers
    }
    if checkpoint.params["data"]["exclude"]:
        everything = _rows(checkpoint, store, {**checkpoint.params["data"], "exclude": []})
        unknown = [row for row in everything if row.class_name not in checkpoint.class_names]
        sets["the class left out"] = unknown
    train, test = ([row for row in own if row.split == split] for split in ("train", "test"))
    known = Known(
        train=_features(checkpoint, train, store),
        labels=np.array([row.label for row in train], np.int64),
        test=_features(checkpoint, test, store),
        weight=checkpoint.model_state["blocks.6.proj.weight"].numpy(),
        bias=checkpoint.model_state["blocks.6.proj.bias"].numpy(),
        temperature=checkpoint.temperature,
    )
    features = {name: _features(checkpoint, rows, store) for name, rows in sets.items()}
    return judge(known, features)


def _params(checkpoint: Checkpoint, data: Mapping[str, Any]) -> Params:
    return demo_params(
        clip=checkpoint.params["clip"],
        cache={"max_rejected_fraction": 1.0},
        data={"group_pattern": None, **data},
    )


def _rows(checkpoint: Checkpoint, store: Path, data: Mapping[str, Any]) -> list[ClipRow]:
    return prepare(_params(checkpoint, data), store)


def _features(checkpoint: Checkpoint, rows: Sequence[ClipRow], store: Path) -> Features:
    """One centre view of each, (N, D)."""
    params = _params(checkpoint, {})
    found = features_of(
        rows,
        Backbone.of(checkpoint),
        views=ViewPlan(),
        clips=ClipStore(store, params.clip).folder,
        runtime=params.runtime,
    )
    features: Features = found.values[:, 0]
    return features
