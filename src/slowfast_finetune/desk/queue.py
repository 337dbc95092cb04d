"""The queue of the label desk: which cases are shown, why, and in which order."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from slowfast_finetune.base.console import count, say
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.hash_memo import MEMO_NAME, HashMemo, hash_files
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.base.params import Params, load_params
from slowfast_finetune.base.store_location import locate, store_root, written_path
from slowfast_finetune.clips.caching import cache_videos, restore_entries
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow
from slowfast_finetune.desk.case_evidence import (
    Case,
    CaseEvidence,
    by_features,
    by_pictures,
    labels_of,
)
from slowfast_finetune.desk.decisions import DecisionTable
from slowfast_finetune.desk.suggesting import suggest
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, Predictions
from slowfast_finetune.indexing.label_table import composed, read_labels
from slowfast_finetune.indexing.manifest import every_video, labels_path
from slowfast_finetune.inspection.label_errors import margins
from slowfast_finetune.scoring.metrics import Floats

IN_SET = "in the set already"
NUM_GUESSES = 3
# Of unlabelled videos at once: what is worth labelling after these, the next run knows better.
MAX_UNLABELLED = 50
# Of the labelled cases, the least likely labels; more if more are more likely wrong than right.
LOOKED_AT = 0.2

T = TypeVar("T")


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


def confident_mistakes(rows: Sequence[ClipRow], path: Path) -> list[Case]:
    """The cases whose label the run's model did not predict, by its margin of probability.

    Cases that have another label now than when they were predicted are left out.
    """
    row_of = {row.case: row for row in rows}
    given = Predictions.of(PREDICTIONS.read(path), source=str(path))
    found = []
    for predicted, values in zip(PREDICTIONS.rows(given.frame), given.probabilities, strict=True):
        row = row_of.get(predicted.case)
        if row and predicted.predicted != predicted.actual == row.class_name:
            score = predicted.confidence - predicted.probability_of_actual
            guesses = _guesses(values, given.class_names)
            found.append(Case(row, "confident mistake", score, guesses))
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
    num_drawn = min(len(rows), round(len(best) * random_share / (1 - random_share)))
    # Drawn from all, and shown as random even if they are doubtful too: else wrong labels would be
    # rarer among them than in the set.
    drawn = np.random.default_rng(seed).permutation(len(rows))[:num_drawn].tolist()
    random = [Case(rows[position], "random", 0.0) for position in drawn]
    for case in random:
        best.pop(case.name, None)
    ranked = sorted(best.values(), key=lambda case: (-case.score, case.name))
    known = {row.case: position for position, row in enumerate(rows)}
    labelled = [_completed(case, known[case.name], evidence) for case in ranked]
    at_random = [_completed(case, known[case.name], evidence) for case in random]
    return spread(spread(labelled, _to_label(evidence, seed=seed)), at_random)


def _doubtful(evidence: CaseEvidence) -> Iterator[Case]:
    scores = margins(evidence.probabilities, labels_of(evidence.rows))
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    num_shown = max(int((scores > 0).sum()), math.ceil(LOOKED_AT * len(scores)))
    for position in order[:num_shown].tolist():
        yield Case(evidence.rows[position], "doubtful", float(scores[position]))


def _copied(evidence: CaseEvidence) -> Iterator[Case]:
    """Copies that have several labels, by the share of them that has another label."""
    for members in evidence.copies:
        names = [evidence.rows[position].class_name for position in members]
        for position, name in zip(members, names, strict=True):
            if others := len(names) - names.count(name):
                yield Case(evidence.rows[position], "near copy", others / len(names))


def _to_label(evidence: CaseEvidence, *, seed: int) -> list[Case]:
    if (given := evidence.unlabelled) is None:
        return []
    chosen = suggest(given.features, given.probabilities, count=MAX_UNLABELLED, seed=seed)
    return [
        Case(
            given.rows[position],
            "unlabelled",
            1 - float(given.probabilities[position].max()),
            _guesses(given.probabilities[position], evidence.class_names),
            given.neighbours[position],
        )
        for position in chosen
    ]


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
    base = locate(params.data.videos, project=project)
    names_in_set = {row.video_path for row in in_set}
    reasons = [
        IN_SET
        if written_path(path, project=project) in names_in_set
        else "decided already"
        if composed(os.path.relpath(path, base)) in decided
        else None
        for path in paths
    ]
    seen = {row.content_hash: IN_SET for row in in_set}
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
    rows, rejected = cache_videos(manifest, params=params, store=store, project=project)
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
