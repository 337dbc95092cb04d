"""The rooms of the package: who imports whom, and that no name stands for two things."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from pipeline_imports import PACKAGE, PROJECT, SOURCE

ROOT = SOURCE / PACKAGE
# Names that still stand in two rooms. This list may only shrink: a name that no longer collides
# fails the test until it is taken out here.
KNOWN_CLASSES: set[str] = set()
KNOWN_FILES: set[str] = set()


def rooms() -> set[str]:
    return {path.parent.name for path in ROOT.glob("*/__init__.py")}


def drawn_arrows(text: str) -> dict[str, set[str]]:
    """The rooms that each room points at, in the one mermaid drawing of a text."""
    drawings = re.findall(r"^```mermaid\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(drawings) == 1, "one drawing is expected"
    arrows: dict[str, set[str]] = {}
    for line in drawings[0].splitlines()[1:]:
        found = re.fullmatch(r" *(\w+) --> (\w+(?: & \w+)*)", line)
        assert found, f"not an arrow: {line!r}"
        arrows.setdefault(found[1], set()).update(found[2].split(" & "))
    return arrows


def reachable(arrows: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The transitive closure of the arrows."""
    reached: dict[str, set[str]] = {}
    for start in {*arrows, *(end for ends in arrows.values() for end in ends)}:
        reached[start] = set()
        waiting = list(arrows.get(start, ()))
        while waiting:
            room = waiting.pop()
            if room not in reached[start]:
                reached[start].add(room)
                waiting += arrows.get(room, ())
    return reached


@cache
def imports_between(root: Path) -> dict[str, set[tuple[str, str]]]:
    """For each room, the (file, room) of every import of another room.

    Imports inside functions and those that only type checkers see are included: both bind one room
    to the names of another.
    """
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for path in sorted(root.glob("*/**/*.py")):
        room, *_ = path.relative_to(root).parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
                names = [f"{PACKAGE}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            else:
                continue
            for name in names:
                package, *inside = name.split(".")
                if package == PACKAGE and inside and inside[0] != room:
                    found[room].add((path.name, inside[0]))
    return found


def in_several_rooms(root: Path) -> tuple[set[str], set[str]]:
    """Names of top-level classes, and of files, that stand in two rooms or more."""
    rooms_of_class: dict[str, set[str]] = defaultdict(set)
    rooms_of_file: dict[str, set[str]] = defaultdict(set)
    for path in root.rglob("*"):
        if not path.is_file() or "__pycache__" in path.parts or path.name == "__init__.py":
            continue
        # Files beside the rooms count as a room of their own.
        room = path.relative_to(root).parts[0] if path.parent != root else "."
        rooms_of_file[path.name].add(room)
        if path.suffix == ".py":
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    rooms_of_class[node.name].add(room)
    classes, files = (
        {name for name, rooms in places.items() if len(rooms) > 1}
        for places in (rooms_of_class, rooms_of_file)
    )
    return classes, files


ARROWS = drawn_arrows((PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def test_every_room_is_drawn_and_no_other() -> None:
    assert set(reachable(ARROWS)) == rooms()


def test_the_drawing_has_no_circle() -> None:
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        pytest.fail(f"docs/architecture.md draws a circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("room", sorted(rooms()))
def test_imports_between_rooms_run_along_the_arrows(room: str) -> None:
    """With a drawing that has no circle, the imports then have none either."""
    # What stands beside the rooms is above them; only the commands may use it.
    above = {path.stem for path in ROOT.glob("*.py")} if room == "commands" else set()
    allowed = reachable(ARROWS)[room] | above
    wrong = {
        f"{room}/{file} imports {other}"
        for file, other in imports_between(ROOT)[room]
        if other not in allowed and other != "__version__"
    }
    assert not wrong


def test_a_name_stands_for_one_thing() -> None:
    classes, files = in_several_rooms(ROOT)
    assert classes == KNOWN_CLASSES
    assert files == KNOWN_FILES


def test_what_these_tests_look_for_is_found(tmp_path: Path) -> None:
    """On two rooms made by hand, which import each other and share a class and a file."""
    for room, other in (("red", "blue"), ("blue", "red")):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("")
        (tmp_path / room / "same.py").write_text(
            f"def late():\n    from {PACKAGE}.{other}.same import Same\n\nclass Same: pass\n"
        )
    assert imports_between(tmp_path) == {
        "red": {("same.py", "blue")},
        "blue": {("same.py", "red")},
    }
    assert in_several_rooms(tmp_path) == ({"Same"}, {"same.py"})


def test_arrows_are_read_over_several_rooms() -> None:
    text = "```mermaid\nflowchart BT\n    top --> left & right\n    left --> base\n```\n"
    assert reachable(drawn_arrows(text)) == {
        "top": {"left", "right", "base"},
        "left": {"base"},
        "right": set(),
        "base": set(),
    }
