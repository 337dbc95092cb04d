"""Logistic regression on features, against scikit-learn's own pipeline and numbers by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from synthetic import make_rows

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.features import logistic
from slowfast_finetune.features.logistic import (
    PENALTIES,
    Head,
    cross_validate,
    deal_folds,
    fit_path,
    fit_probe,
    held_out_probabilities,
    joined_units,
)


def rows_of(labels: list[int], groups: list[str | None] | None = None) -> list[ClipRow]:
    return [
        row._replace(
            label=label,
            class_name="abcdefgh"[label],
            group=groups[index] if groups else None,
            content_hash=f"{index:032x}",
            video_path=f"{index}.mp4",
        )
        for index, (row, label) in enumerate(zip(make_rows(len(labels)), labels, strict=True))
    ]


def drawn(num_videos: int, num_classes: int, *, views: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, V, 6) whose scales differ a thousand times, one of them constant; labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_videos) % num_classes
    centres = rng.normal(size=(num_classes, 6))
    features = centres[labels][:, None] + rng.normal(size=(num_videos, views, 6))
    features = features * [1, 1000, 0.01, 1, 5, 0] + [0, 50, 1, -3, 0, 7]
    return features.astype(np.float32), labels


def fit_one(features: np.ndarray, labels: np.ndarray, *, balanced: bool = False) -> Head:
    (head,) = fit_path(features, labels, penalties=[0.1], balanced=balanced)
    return head


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_folded_head_is_the_pipeline_of_scaler_and_regression(num_classes: int) -> None:
    features, labels = drawn(60, num_classes)
    samples, repeated = features.reshape(120, 6).astype(np.float64), np.repeat(labels, 2)
    # scikit-learn sums over samples; for two classes it has one vector w, ‖W‖² = ‖w‖² / 2.
    strength = 1 / (0.1 * 120) * (2 if num_classes == 2 else 1)
    pipeline = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
    ).fit(samples, repeated)
    head = fit_one(features, labels)
    np.testing.assert_allclose(
        log_softmax(head.logits(features).reshape(120, num_classes), axis=1),
        pipeline.predict_log_proba(samples),
        atol=2e-3,
    )
    assert (head.weight[:, 5] == 0).all(), "a constant feature tells nothing"
    # At the optimum the gradient is zero: Σ (p - y) x / N + λ W = 0 in standardised features.
    z = StandardScaler().fit_transform(samples)
    p = np.exp(log_softmax(head.logits(features).reshape(120, num_classes), axis=1))
    spread = samples.std(axis=0)
    gradient = (p - np.eye(num_classes)[repeated]).T @ z / 120 + 0.1 * head.weight * spread
    assert np.abs(gradient).max() < 1e-3


def test_many_videos_are_dealt_to_fewer_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "MANY_VIDEOS", 60)
    features, labels = drawn(60, 3)
    probe = fit_probe(rows_of(labels.tolist()), features, num_views=2, balanced=False, seed=0)
    assert probe.num_folds == 3


def test_of_many_videos_the_strong_penalties_are_tried_only_where_little_is_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logistic, "MANY_VIDEOS", 60)
    features, labels = drawn(60, 3)
    folds = np.arange(60) // 3 % 3
    told = cross_validate(features, labels, folds, num_views=2, balanced=False)
    assert [each.penalty for each in told] == [*logistic.WEAKER[: len(told)]]
    untold = np.random.default_rng(1).permutation(labels)
    noise = cross_validate(features, untold, folds, num_views=2, balanced=False)
    assert noise[0].penalty == PENALTIES[0]


def test_heads_of_many_videos_are_fitted_less_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = drawn(60, 3)

    def largest_gradient() -> float:
        probe = fit_probe(rows_of(labels.tolist()), features, num_views=2, balanced=False, seed=0)
        samples = features.reshape(120, -1).astype(np.float64)
        repeated = labels.repeat(2)
        p = np.exp(log_softmax(probe.head.logits(features).reshape(120, 3), axis=1))
        z = StandardScaler().fit_transform(samples)
        penalty = probe.results[probe.best].penalty
        pull = penalty * probe.head.weight * samples.std(axis=0)
        return float(np.abs((p - np.eye(3)[repeated]).T @ z / 120 + pull).max())

    closely = largest_gradient()
    monkeypatch.setattr(logistic, "MANY_VIDEOS", 60)
    monkeypatch.setattr(logistic, "_COARSER", 0.05)  # so that so few videos tell the difference
    assert closely < 3e-4
    assert largest_gradient() > 1e-3


def test_balancing_moves_the_boundary_to_the_rare_class() -> None:
    features, labels = drawn(60, 2)
    chosen = np.flatnonzero((labels == 0) | (np.arange(60) < 12))
    rare, few = features[chosen], labels[chosen]
    recall = {
        balanced: (fit_one(rare, few, balanced=balanced).logits(rare).argmax(-1) == 1)[few == 1]
        for balanced in (False, True)
    }
    assert recall[True].mean() > recall[False].mean()
    # And it is what repeating each video of the rare class 30 / 6 times does.
    repeated = np.concatenate([np.flatnonzero(few == 0), *[np.flatnonzero(few == 1)] * 5])
    one = fit_one(rare, few, balanced=True).logits(rare)
    scale_of_repeated = rare[repeated]
    other = fit_one(scale_of_repeated, few[repeated]).logits(rare)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999


def test_no_group_and_no_copy_is_in_two_folds_and_classes_are_even() -> None:
    groups = [f"person {i // 4}" for i in range(40)]
    rows = rows_of([i % 4 for i in range(40)], groups)
    # The last person's first video is a copy of the first person's: the two belong together.
    rows[36] = rows[36]._replace(content_hash=rows[0].content_hash)
    folds = deal_folds(rows, seed=0)
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    for unit in set(joined_units(rows).tolist()):
        assert len(set(folds[joined_units(rows) == unit])) == 1
    assert folds[0] == folds[36] == folds[39]
    np.testing.assert_array_equal(folds, deal_folds(rows, seed=0))
    assert len(set(joined_units(rows).tolist())) == 9


def test_as_many_folds_as_the_rarest_class_has_groups() -> None:
    rows = rows_of([0] * 20 + [1] * 3)
    assert set(deal_folds(rows, seed=0)) == {0, 1, 2}


def test_a_class_in_one_group_is_refused() -> None:
    rows = rows_of([0] * 4 + [1] * 4, [*"abcd", *"eeee"])
    with pytest.raises(DataError, match="class 'b' lies in one group alone"):
        deal_folds(rows, seed=0)


@pytest.mark.parametrize("groups_left", [1, 2])
def test_every_training_part_has_every_class_wherever_there_are_groups_enough(
    groups_left: int,
) -> None:
    """On persons who show some of the classes, few enough for a dealing by shares to fail."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        classes = [rng.choice(4, rng.integers(1, 4), replace=False).tolist() for _ in range(6)]
        shown = [(person, label) for person in range(6) for label in classes[person]]
        shown *= int(rng.integers(1, 4))
        labels, groups = np.array([label for _, label in shown]), [f"{p}" for p, _ in shown]
        people = {label: {p for p, each in shown if each == label} for label in labels}
        if min(map(len, people.values())) <= groups_left:
            continue
        folds = deal_folds(rows_of(labels.tolist(), groups), seed=0, groups_left=groups_left)
        fold_of = {person: set(folds[np.array(groups) == f"{person}"]) for person, _ in shown}
        assert all(len(each) == 1 for each in fold_of.values())
        for fold, label in itertools.product(set(folds), people):
            assert len([p for p in people[label] if fold_of[p] != {fold}]) >= groups_left


def test_a_fold_more_where_two_cannot_do() -> None:
    # Of three persons in two folds two are together, and one class is theirs alone.
    rows = rows_of([0, 1, 1, 2, 2, 0], [*"aabbcc"])
    assert sorted(deal_folds(rows, seed=0)) == [0, 0, 1, 1, 2, 2]


def test_each_video_is_judged_by_a_head_that_has_not_seen_it() -> None:
    """A label that only the video itself could teach is never found, though all are learned."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 1, 200)).astype(np.float32)
    labels = rng.permutation(np.arange(40) % 2)
    folds = deal_folds(rows_of(labels.tolist()), seed=0)
    weakest = cross_validate(features, labels, folds, num_views=1, balanced=False)[-1]
    assert weakest.train["accuracy"] == 1
    assert 0.2 < weakest.val["accuracy"] < 0.8


def test_the_penalty_with_the_lowest_loss_of_videos_left_out_is_chosen() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(40) % 2
    noise = rng.normal(size=(40, 2, 50)).astype(np.float32)
    noise[:, :, 0] += 2 * labels[:, None]
    probe = fit_probe(rows_of(labels.tolist()), noise, num_views=2, balanced=False, seed=0)
    losses = [result.val["loss"] for result in probe.results]
    assert losses[probe.best] == min(losses)
    assert 0 < probe.best < len(PENALTIES) - 1, "noise wants a penalty, the class a weight"
    again = fit_probe(rows_of(labels.tolist()), noise, num_views=2, balanced=False, seed=0)
    np.testing.assert_array_equal(again.head.weight, probe.head.weight)
    assert again.calibration == probe.calibration


def test_features_that_tell_nothing_are_refused() -> None:
    rows = rows_of([0, 1] * 4)
    same = np.ones((8, 1, 5), np.float32)
    with pytest.raises(DataError, match="all 8 videos are alike"):
        fit_probe(rows, same, num_views=1, balanced=False, seed=0)
    with pytest.raises(DataError, match="all 8 videos are alike"):
        held_out_probabilities(rows, same[:, 0], balanced=False, seed=0)
    same[3, 0, 2] = np.nan
    with pytest.raises(DataError, match=r"3\.mp4: its features are not finite"):
        fit_probe(rows, same, num_views=1, balanced=False, seed=0)
