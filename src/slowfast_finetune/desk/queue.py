"""The queue of the label desk: which cases are shown, why, and in which order."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from slowfast_finetune.base.console import say
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.params import load_params
from slowfast_finetune.base.store_location import store_root
from slowfast_finetune.clips.caching import restore_entries
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow
from slowfast_finetune.desk.case_evidence import (
    Case,
    CaseEvidence,
    by_features,
    by_pictures,
    labels_of,
)
from slowfast_finetune.desk.suggesting import suggest
from slowfast_finetune.desk.unlabelled import unlabelled_rows
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, Predictions
from slowfast_finetune.inspection.label_errors import margins
from slowfast_finetune.scoring.metrics import Floats

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
    count = min(len(rows), round(len(best) * random_share / (1 - random_share)))
    # Drawn from all, and shown as random even if they are doubtful too: else wrong labels would be
    # rarer among them than in the set.
    drawn = np.random.default_rng(seed).permutation(len(rows))[:count].tolist()
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
    count = max(int((scores > 0).sum()), math.ceil(LOOKED_AT * len(scores)))
    for position in order[:count].tolist():
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
