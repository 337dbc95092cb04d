"""Which of our module files a script needs, read from its imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SOURCE = PROJECT / "src"
PACKAGE = "slowfast_finetune"


def imported_files(script: Path) -> set[str]:
    """Files of the package that a script imports, directly or through others; and the script."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports_of(path)
    return {path.relative_to(PROJECT).as_posix() for path in found}


@cache
def _imports_of(path: Path) -> list[Path]:
    names: set[str] = set()
    for node in _nodes_that_run(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    files = []
    for name in sorted(names):
        parts = name.split(".")
        if parts[0] == PACKAGE:
            # Importing a.b.c runs the __init__ of a and a.b as well.
            for end in range(1, len(parts) + 1):
                files += _files_of(parts[:end])
    return files


def _nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """All statements of a tree but what only type checkers see; an expression imports nothing."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            continue
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _nodes_that_run(child)


def _files_of(parts: list[str]) -> list[Path]:
    base = SOURCE.joinpath(*parts)
    return [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()]
