"""The queue of the label desk: which cases are shown, why, and in which order."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from slowfast_finetune.base.console import count, progress, say
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.hash_memo import MEMO_NAME, HashMemo, hash_files
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.base.params import Params, load_params
from slowfast_finetune.base.store_location import locate, store_root, written_path
from slowfast_finetune.clips.caching import cache_videos, restore_entries
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow
from slowfast_finetune.desk.cases import Case, Neighbour, Reason
from slowfast_finetune.desk.decisions import DecisionTable
from slowfast_finetune.desk.suggesting import suggest
from slowfast_finetune.evaluation.predictions_table import PREDICTIONS
from slowfast_finetune.features.feature_store import Features
from slowfast_finetune.features.held_out import held_out_probabilities
from slowfast_finetune.features.likeness import nearest
from slowfast_finetune.features.logistic import fit_path, fitting
from slowfast_finetune.indexing.label_table import read_labels
from slowfast_finetune.indexing.manifest import every_video, labels_path
from slowfast_finetune.indexing.names import composed
from slowfast_finetune.inspection.duplicates import exact_copies, near_copies
from slowfast_finetune.inspection.label_errors import cross_predict, margins
from slowfast_finetune.inspection.video_summary import VideoSummary, summarise_entry
from slowfast_finetune.scoring.metrics import Floats, Labels

NUM_NEIGHBOURS = 5
NUM_GUESSES = 3
# Of unlabelled videos at once: what is worth labelling after these, the next run knows better.
MAX_UNLABELLED = 50
# Of the labelled cases, the least likely labels; more if more are more likely wrong than right.
LOOKED_AT = 0.2

T = TypeVar("T")


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


def build_queue(
    project: Path,
    *,
    unlabelled: Path | None = None,
    random_share: float = 0.1,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> list[Case]:
    """Order the cases that are worth looking at, each once, the most doubtful first.

    Labelled cases that held-out probabilities, the run's predictions or a near copy speak against,
    and at least a fifth of all, by their score; among them those of ``unlabelled`` to label next,
    and random ones, both spread evenly. Random cases are drawn from all labelled ones before the
    others, so that the share of wrong labels among them is that of the set.

    Args:
        unlabelled: a folder of videos without labels; they are decoded into the clip store.
        random_share: of the queue, from 0 to less than 1.
        seed: of the random cases and of the choice among unlabelled videos.

    Raises:
        DataError: ``data/clips.csv`` is missing, of other parameters or of fewer than two classes,
            a clip cannot be restored, or ``unlabelled`` holds no video, or has no checkpoint to
            judge it.
    """
    params = load_params(project / "params.yaml")
    runtime = params.runtime.model_copy(update={"device": device})
    params = params if device == "auto" else params.model_copy(update={"runtime": runtime})
    rows, class_names = _numbered(CLIPS.read_rows(project / CLIPS.file))
    if len(class_names) < 2:
        held = f"only class {class_names[0]!r}" if rows else "no case"
        raise DataError(
            f"{CLIPS.file}: holds {held}; labels are judged between two or more classes"
        )
    store = ClipStore(store_root(project), params.clip)
    restore_entries(rows, params=params, store=store, project=project)
    others = []
    checkpoint = project / "models" / "best.pt"
    if unlabelled is not None:
        if not checkpoint.is_file():
            raise DataError(
                f"{checkpoint}: no such checkpoint to judge {unlabelled} by; run `dvc repro`"
            )
        others = unlabelled_rows(unlabelled, rows, params=params, store=store, project=project)
    if checkpoint.is_file():
        evidence = by_features(
            rows, class_names, others, params=params, store=store, path=checkpoint
        )
    else:
        say("models/best.pt is not there yet: labels in doubt are those of the doctor's model")
        evidence = by_pictures(rows, class_names, store=store)
    path = project / PREDICTIONS.file
    mistakes = confident_mistakes(rows, path) if path.is_file() else []
    return arrange(evidence, mistakes, random_share=random_share, seed=seed)


def _numbered(rows: Sequence[ClipRow]) -> tuple[list[ClipRow], list[str]]:
    """The rows with labels that count the classes that have usable cases, and these classes."""
    names = sorted({row.class_name for row in rows})
    label_of = {name: label for label, name in enumerate(names)}
    return [row._replace(label=label_of[row.class_name]) for row in rows], names


def unlabelled_rows(
    folder: Path, known: Sequence[ClipRow], *, params: Params, store: ClipStore, project: Path
) -> list[ClipRow]:
    """Decode the videos of a folder into the clip store; says which are refused or passed over.

    Their class is empty, and their split tells nothing. Passed over are videos that are in the set
    or decided about already, and copies of these and of each other.

    Args:
        known: cases of the set.

    Raises:
        DataError: the folder holds no usable video, or the table of labels is not valid.
    """
    data = params.data.model_copy(update={"videos": str(folder.absolute())})
    root, names = every_video(data, project=project)
    paths = [root / name for name in names]
    hashes = hash_files(paths, memo=HashMemo(store.folder.parent / MEMO_NAME))
    listed = project / MANIFEST.file
    in_set = [*known, *(MANIFEST.read_rows(listed) if listed.is_file() else ())]
    decided = _decided(params, project=project)
    base = os.path.abspath(locate(params.data.videos, project=project))  # noqa: PTH100
    reason_of = dict.fromkeys({row.video_path for row in in_set}, "in the set already")
    reasons = [
        reason_of.get(written_path(path, project=project))
        or ("decided already" if composed(os.path.relpath(path, base)) in decided else None)
        for path in paths
    ]
    seen = {row.content_hash: "in the set already" for row in in_set}
    seen |= {found: reason for found, reason in zip(hashes, reasons, strict=True) if reason}
    manifest, passed = [], Counter[str]()
    for path, content_hash, reason in zip(paths, hashes, reasons, strict=True):
        if why := reason or seen.get(content_hash):
            passed[why] += 1
            continue
        seen[content_hash] = "like others there"
        name = written_path(path, project=project)
        manifest.append(ManifestRow(name, "", 0, "train", None, content_hash))
    if passed:
        shown = ", ".join(f"{number} {why}" for why, number in sorted(passed.items()))
        say(f"{folder}: not asked about: {passed.total()} of {count(len(paths), 'video')}: {shown}")
    if passed and not manifest:
        return []
    rows, rejected = cache_videos(
        manifest,
        clip=params.clip,
        cache=params.cache.model_copy(update={"max_rejected_fraction": 1.0}),
        store=store,
        project=project,
        num_workers=params.runtime.num_workers,
    )
    for row in rejected:
        say(f"WARNING: {row.case}: {row.reason}: {row.detail}")
    if not rows:
        raise DataError(f"{folder}: holds no video that can be used")
    return rows


def _decided(params: Params, *, project: Path) -> set[str]:
    """The videos that the table of labels names, but for those whose decision was undone."""
    path = labels_path(params.data, project=project)
    if not path.exists():
        return set()
    named = read_labels(path).rows
    table = DecisionTable(path)
    standing = {decision.span.video for decision in table.standing}
    undone = {decision.span.video for decision in table.decisions} - standing
    return {
        name for name in named if name not in undone or any(row.label for _, row in named[name])
    }


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
    from slowfast_finetune.features.extraction import ViewPlan, features_of
    from slowfast_finetune.model.checkpoint import classifier_from, load_checkpoint

    checkpoint = load_checkpoint(path)
    found = features_of(
        rows,
        network=classifier_from(checkpoint).network,
        model_name=checkpoint.model_name,
        shape=checkpoint.preprocessing,
        plan=ViewPlan.of_probe(params.train, params.augment),  # whose features are there already
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

    means, size = mean_features([*rows, *others], params=params, store=store, path=path), len(rows)
    balanced = params.train.class_balance != "none"
    labels = _labels(rows)
    try:
        probabilities, penalty = held_out_probabilities(
            rows, means[:size], balanced=balanced, seed=params.data.split_seed
        )
    except DataError as error:
        say(f"WARNING: no labels are put in doubt by the model: {error}")
        probabilities, penalty = np.full((size, len(class_names)), np.nan), 1.0
    unlabelled = None
    if others:
        with fitting():
            (head,) = fit_path(means[:size, None], labels, penalties=[penalty], balanced=balanced)
        each: Floats = softmax(head.logits(means[size:]), axis=1)
        known = nearest(means[size:], means[:size], k=NUM_NEIGHBOURS)
        unlabelled = Unlabelled(others, means[size:], each, _neighbours(rows, *known))
    positions, cosines = nearest(means[:size], means[:size], k=NUM_NEIGHBOURS, but_itself=True)
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


def _labels(rows: Sequence[ClipRow]) -> Labels:
    return np.array([row.label for row in rows], np.int64)


def _neighbours(
    rows: Sequence[ClipRow], positions: Labels, cosines: Features
) -> list[tuple[Neighbour, ...]]:
    return [
        tuple(
            Neighbour(row.video_path, row.start_seconds, row.end_seconds, row.class_name, cosine)
            for row, cosine in zip([rows[position] for position in found], values, strict=True)
        )
        for found, values in zip(positions.tolist(), cosines.tolist(), strict=True)
    ]


def confident_mistakes(rows: Sequence[ClipRow], path: Path) -> list[Case]:
    """The cases whose label the run's model did not predict, by its margin of probability.

    Cases that have another label now than when they were predicted are left out.
    """
    row_of = {row.case: row for row in rows}
    found = []
    frame = PREDICTIONS.read(path)
    names = [name[2:-1] for name in frame.columns if name.startswith("p(")]
    for predicted, values in zip(
        PREDICTIONS.rows(frame), frame[[f"p({name})" for name in names]].to_numpy(), strict=True
    ):
        row = row_of.get(predicted.case)
        if row and predicted.predicted != predicted.actual == row.class_name:
            score = predicted.confidence - predicted.probability_of_actual
            guesses = _guesses(values, names)
            found.append(replace(_case(row, "confident mistake", score), guesses=guesses))
    return found


def arrange(
    evidence: CaseEvidence, mistakes: Sequence[Case], *, random_share: float, seed: int
) -> list[Case]:
    """Bring all cases that are worth looking at into one order, see :func:`build_queue`."""
    best: dict[str, Case] = {}
    for case in (*_doubtful(evidence), *mistakes, *_copied(evidence)):
        if case.name not in best or case.score > best[case.name].score:
            best[case.name] = case
    rows = evidence.rows
    count = min(len(rows), round(len(best) * random_share / (1 - random_share)))
    # Drawn from all, and shown as random even if they are doubtful too: else wrong labels would be
    # rarer among them than in the set.
    drawn = np.random.default_rng(seed).permutation(len(rows))[:count].tolist()
    random = [_case(rows[position], "random", 0.0) for position in drawn]
    for case in random:
        best.pop(case.name, None)
    ranked = sorted(best.values(), key=lambda case: (-case.score, case.name))
    known = {row.case: position for position, row in enumerate(rows)}
    labelled = [_completed(case, known[case.name], evidence) for case in ranked]
    at_random = [_completed(case, known[case.name], evidence) for case in random]
    return spread(spread(labelled, _to_label(evidence, seed=seed)), at_random)


def _doubtful(evidence: CaseEvidence) -> Iterator[Case]:
    scores = margins(evidence.probabilities, _labels(evidence.rows))
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    count = max(int((scores > 0).sum()), math.ceil(LOOKED_AT * len(scores)))
    for position in order[:count].tolist():
        yield _case(evidence.rows[position], "doubtful", float(scores[position]))


def _copied(evidence: CaseEvidence) -> Iterator[Case]:
    """Copies that have several labels, by the share of them that has another label."""
    for members in evidence.copies:
        names = [evidence.rows[position].class_name for position in members]
        for position, name in zip(members, names, strict=True):
            if others := len(names) - names.count(name):
                yield _case(evidence.rows[position], "near copy", others / len(names))


def _to_label(evidence: CaseEvidence, *, seed: int) -> list[Case]:
    if (given := evidence.unlabelled) is None:
        return []
    chosen = suggest(given.features, given.probabilities, count=MAX_UNLABELLED, seed=seed)
    return [
        replace(
            _case(
                given.rows[position], "unlabelled", 1 - float(given.probabilities[position].max())
            ),
            class_name=None,
            split=None,
            guesses=_guesses(given.probabilities[position], evidence.class_names),
            neighbours=given.neighbours[position],
        )
        for position in chosen
    ]


def _case(row: ClipRow, reason: Reason, score: float) -> Case:
    part = (row.start_seconds, row.end_seconds)
    return Case(row.video_path, row.class_name, row.split, reason, score, (), (), *part)


def _completed(case: Case, position: int, evidence: CaseEvidence) -> Case:
    """The case with its neighbours, and guesses if it has none and there are any."""
    guesses = case.guesses or _guesses(evidence.probabilities[position], evidence.class_names)
    return replace(case, guesses=guesses, neighbours=evidence.neighbours[position])


def _guesses(probabilities: Floats, class_names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    if np.isnan(probabilities).any():
        return ()
    order = np.argsort(-probabilities, kind="stable")[:NUM_GUESSES].tolist()
    return tuple((class_names[label], float(probabilities[label])) for label in order)


def spread(items: Sequence[T], others: Sequence[T]) -> list[T]:
    """Both in their order, the others evenly among the items: of "aaaa" and "xy" it is axaaya."""
    whole = [((index + 0.5) / len(items), 0, index, item) for index, item in enumerate(items)]
    more = [((index + 0.5) / len(others), 1, index, item) for index, item in enumerate(others)]
    return [each[-1] for each in sorted([*whole, *more], key=lambda each: each[:3])]
