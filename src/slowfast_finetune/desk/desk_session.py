"""The state of a label desk: its queue, and what has been decided of it."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from slowfast_finetune.base.errors import InputError
from slowfast_finetune.base.files import write_text
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.manifest_table import MANIFEST, Split, case_name
from slowfast_finetune.base.params import Params, load_params, parse_params
from slowfast_finetune.base.store_location import locate, written_path
from slowfast_finetune.clips.clip_tables import CLIPS
from slowfast_finetune.desk.case_evidence import Case
from slowfast_finetune.desk.decisions import BLIND, SPLIT, TEST, Decision, DecisionTable
from slowfast_finetune.desk.loops import Loop, LoopMaker
from slowfast_finetune.evaluation.resampling import wilson_interval
from slowfast_finetune.indexing.label_table import LABELS_FILE, TIME_DIGITS, Span, composed
from slowfast_finetune.indexing.manifest import labels_path

SIDES = {"case": 192, "neighbour": 96}  # shorter side of a loop [px]
LOOPS_KEPT = 64
HISTORY_SHOWN = 200
MOST_GUESSES = 5
PART = "part"  # the reason to ask for a part that was split off
PARAMS = "params.yaml"


@dataclass(frozen=True)
class _Item:
    """What is asked about: a case of the queue, or a part that was split off."""

    span: Span
    video_path: str  # as in the manifest
    label: str | None  # None if it has none
    split: Split
    word: str  # the first of the reason of a decision about it

    @property
    def name(self) -> str:
        return case_name(self.video_path, self.span.start, self.span.end)


class Choice(BaseModel):
    """A decision, as the page sends it."""

    name: str  # of the case
    action: Literal["keep", "label", "drop", "split"]
    label: str | None = None  # for the action of that name
    at: float | None = None  # where it is split [s]
    blind: bool = False  # whether the model's opinion was hidden
    expected: str | None = None  # the key of the latest decision about it that the page knew of


class LabelDesk:
    """Serves the page: what is asked, what was decided, and the loops to be seen.

    Args:
        project: the folder of params.yaml.
        cases: the queue, in the order in which cases are asked; those of the test split come last.

    Raises:
        InputError: the table of labels is not valid or cannot be written, or a table of the run
            is missing.
    """

    def __init__(self, project: Path, cases: Sequence[Case]) -> None:
        params = load_params(project / PARAMS)
        self._project = project
        self._root = locate(params.data.videos, project=project)
        path, self._must_be_named = _table(params, self._root, project=project)
        self.table = DecisionTable(path)
        if path.exists():
            self._name_table()
        manifest = MANIFEST.read_rows(project / "data" / "manifest.csv")
        self._classes = {row.class_name for row in manifest}
        self._cases = sorted(cases, key=lambda case: case.row.split == "test")
        self._queue = [self._item(case) for case in self._cases]
        rows = CLIPS.read_rows(project / "data" / "clips.csv")
        self._maker = LoopMaker(project, params, rows)
        self._shown = {
            row.case: (row.video_path, row.start_seconds, row.end_seconds)
            for case in cases
            for row in (case.row, *(near for near, _ in case.neighbours))
        }
        self.loop = lru_cache(LOOPS_KEPT)(self._loop)

    def state(self) -> dict[str, Any]:
        """All that the page needs to begin, without the model's opinion."""
        return {
            "project": self._project.resolve().name,
            "table": str(self.table.path),
            "cases": [_as_json(item) for item in self._queue],
            **self.progress(),
        }

    def opinions(self) -> dict[str, Any]:
        """Of each case by its name what speaks for its label or against it, and why it is shown."""
        return {
            case.name: {
                "reason": case.reason,
                "guesses": case.guesses[:MOST_GUESSES],
                "neighbours": [
                    {"name": row.case, "label": row.class_name, "similarity": similarity}
                    for row, similarity in case.neighbours
                ],
            }
            for case in self._cases
        }

    def progress(self) -> dict[str, Any]:
        """What changes with decisions."""
        standing = self.table.standing
        parts = self._parts(standing)
        items = [*self._queue, *parts]
        used = {label for decision in standing for label in decision.labels if label}
        return {
            # New ones come last, so that the others keep their numbers.
            "classes": sorted(self._classes) + sorted(used - self._classes),
            "parts": [_as_json(item) for item in parts],
            "decided": self._decided(items, standing),
            "history": self._history(items, standing),
            "estimate": self.estimate(),
        }

    def _decided(self, items: Sequence[_Item], standing: Sequence[Decision]) -> dict[str, Any]:
        """The latest row about each case by its name, and whether the case is to be asked still."""
        by_video = grouped(standing, key=lambda decision: decision.span.video)
        decided = {}
        for item in items:
            latest = self.table.latest(item.span)
            if latest is None:
                continue
            made = [d for d in by_video.get(item.span.video, ()) if d.overlaps(item.span)]
            # A split is no decision on the labels of its parts, nor one on the label that a row
            # written by hand has given since.
            is_open = (
                not made
                or (item.word == PART and SPLIT in made[-1].words)
                or not (latest.decided_at or set(latest.labels) & set(made[-1].labels))
            )
            decided[item.name] = {"key": latest.key, "open": is_open, **_said(latest)}
        return decided

    def _history(
        self, items: Sequence[_Item], standing: Sequence[Decision]
    ) -> list[dict[str, Any]]:
        """The newest decisions, the first one first."""
        names = {item.span: item.name for item in items}
        return [
            {
                "key": decision.key,
                "name": names.get(decision.span, case_name(*decision.span)),
                "undone": decision.is_undo,
                "stands": decision in standing,
                **_said(decision),
            }
            for decision in self.table.decisions[-HISTORY_SHOWN:]
        ]

    def estimate(self) -> dict[str, Any] | None:
        """The share of wrong labels among random cases, with its 95 % interval; None without any.

        Of the random cases of this queue those that have been decided, for whatever reason they
        were shown. A label is counted as wrong if it was changed, split or dropped.
        """
        standing = self.table.standing
        drawn = [item.span for item in self._queue if item.word == "random"]
        made = [[d for d in standing if d.overlaps(span)] for span in drawn]
        found = [decisions for decisions in made if decisions]
        if not found:
            return None
        wrong = sum(each[-1].labels != (each[0].before,) for each in found)
        low, high = wilson_interval(wrong / len(found), len(found))
        blind = sum(BLIND in each[-1].words for each in found)
        shares = {"low": low, "high": high}
        return {"drawn": len(drawn), "count": len(found), "wrong": wrong, "blind": blind, **shares}

    def decide(self, choice: Choice) -> str:
        """Append a decision about a case of the queue; returns its key.

        Raises:
            InputError: there is no such case, it was decided in between, or it cannot be called so
                or split there: it ends before, or cannot be decoded.
        """
        items = (*self._queue, *self._parts(self.table.standing))
        item = next((item for item in items if item.name == choice.name), None)
        if item is None:
            raise InputError(f"{choice.name}: is not in the queue")
        latest = self.table.latest(item.span)
        if (latest.key if latest else None) != choice.expected:
            raise InputError("decided in another window or by another program meanwhile")
        # What it is called now.
        known = latest.parts if latest else ()
        now = next((label for span, label in known if span.overlaps(item.span)), item.label)
        words = [item.word, *[TEST] * (item.split == "test"), *[BLIND] * choice.blind]
        parts: list[tuple[Span, str | None]]
        if choice.action == "split":
            halves = _halves(item, choice.at or 0.0)
            self._maker.loop(item.video_path, *halves[1][1:], short_side=SIDES["case"])  # or refuse
            parts = [(half, now) for half in halves]
            words.append(SPLIT)
        else:
            labels = {"keep": now, "label": choice.label or "", "drop": None}
            parts = [(item.span, labels[choice.action])]
        made = self.table.decide(parts, before=now, words=words, split=item.split, expected=latest)
        self._name_table()
        return made.key

    def undo(self, key: str) -> None:
        """Take a decision back.

        Raises:
            InputError: there is no such decision; or as :meth:`DecisionTable.undo`.
        """
        found = [decision for decision in self.table.decisions if decision.key == key]
        if not found:
            raise InputError("there is no such decision")
        self.table.undo(found[0])

    def _loop(self, name: str, kind: str) -> Loop:
        """The loop of a case, a part or a neighbour; see :class:`LoopMaker`.

        Raises:
            InputError: nothing of that name is shown.
            VideoError: it cannot be decoded.
        """
        shown = self._shown | {
            item.name: (item.video_path, item.span.start, item.span.end)
            for item in self._parts(self.table.standing)
        }
        if name not in shown or kind not in SIDES:
            raise InputError(f"{name}: is not in the queue")
        return self._maker.loop(*shown[name], short_side=SIDES[kind])

    def _parts(self, standing: Sequence[Decision]) -> list[_Item]:
        """The parts that splits have made."""
        queue = {item.span.video: item for item in self._queue}
        items: list[_Item] = []
        for decision in standing:
            if SPLIT not in decision.words:
                continue
            # One of them may be split in turn.
            items = [item for item in items if not item.span.overlaps(decision.span)]
            for span, label in decision.parts:
                if known := queue.get(span.video):
                    items.append(replace(known, span=span, label=label, word=PART))
                    continue
                path = written_path(self._root / span.video, project=self._project)
                split: Split = "test" if TEST in decision.words else "train"
                items.append(_Item(span, path, label, split, PART))
        return items

    def _item(self, case: Case) -> _Item:
        row = case.row
        path = os.path.relpath(locate(row.video_path, project=self._project), self._root)
        span = Span(composed(path), row.start_seconds, row.end_seconds)
        return _Item(span, row.video_path, row.class_name or None, row.split, case.reason)

    def _name_table(self) -> None:
        """Set data.labels in params.yaml, if the table lies where index would not look for it."""
        if self._must_be_named:
            write_text(self._project / PARAMS, _naming_table(self._project))
            self._must_be_named = False


def _as_json(item: _Item) -> dict[str, Any]:
    return {
        "name": item.name,
        "video": item.span.video,
        "label": item.label,
        "test": item.split == "test",
        "start": item.span.start,
        "end": item.span.end,
    }


def _halves(item: _Item, at: float) -> tuple[Span, Span]:
    """The parts of a case before and after a time [s].

    Raises:
        InputError: it does not lie within the case.
    """
    start, end = item.span.start or 0.0, item.span.end
    at = round(at, TIME_DIGITS)
    if not start < at < (math.inf if end is None else end):
        raise InputError(f"{item.name}: cannot be split at {at:g} s")
    return item.span._replace(start=start, end=at), item.span._replace(start=at)


def _table(params: Params, root: Path, *, project: Path) -> tuple[Path, bool]:
    """The table of labels; and whether data.labels has to be set for ``index`` to read it.

    Where the videos lie in the project, the table is labels.csv beside params.yaml: git then has
    it, and no stage of DVC that writes videos deletes it.
    """
    path = labels_path(params.data, project=project)
    is_outside = not root.resolve().is_relative_to(project.resolve())
    if params.data.labels or path.exists() or is_outside:
        return path, False
    _naming_table(project)
    return project / LABELS_FILE, True


def _naming_table(project: Path) -> str:
    """The text of params.yaml with labels.csv as data.labels, and all else as it stands there.

    Raises:
        InputError: there is no ``labels: null`` to replace.
    """
    text = (project / PARAMS).read_text(encoding="utf-8")
    named, count = re.subn(r"(?m)^( +labels:) *null\b", rf"\1 {LABELS_FILE}", text, count=1)
    if not count or parse_params(named, path=Path(PARAMS)).data.labels != LABELS_FILE:
        raise InputError(f"{PARAMS}: set data.labels: {LABELS_FILE}, for the decisions")
    return named


def _said(decision: Decision) -> dict[str, Any]:
    """A decision in words."""
    if not decision.decided_at:
        return {"said": "written by hand", "label": decision.labels[-1]}
    if SPLIT in decision.words:
        times = ", ".join(f"{span.end:g} s" for span, _ in decision.parts[:-1])
        return {"said": f"split at {times}", "label": decision.before}
    label = decision.labels[-1]
    if label is None:
        return {"said": "dropped", "label": None}
    kept = f"{label}: kept" if label == decision.before else f"{decision.before or '–'} → {label}"
    return {"said": kept, "label": label}
