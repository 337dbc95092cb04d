"""Pure: the confusion table as the page shows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from slowfast_finetune.evaluation.result_tables import ConfusionRow
from slowfast_finetune.inspection.readable import count, percent

LARGE = 8  # from so many classes on the names stand upright
# Shares from which a shade asks for text of the other lightness, in the dark and the light theme.
DEEP, DEEPER = 0.62, 0.75


@dataclass(frozen=True)
class Cell:
    """Videos of one class that were taken for one class.

    Attributes:
        id: position of the two classes, "0-3".
        look: CSS classes: right or wrong, and how deep the shade is.
        shade: share of the row, 0 to 1.
        label: what a screen reader says.
    """

    id: str
    actual: str
    predicted: str
    count: int
    share: str
    shade: float
    look: str
    label: str


@dataclass(frozen=True)
class MatrixRow:
    """One class: a cell for each class, None where no video is."""

    name: str
    cells: Sequence[Cell | None]


@dataclass(frozen=True)
class Matrix:
    """The confusion table; ``start`` is the cell that is shown first."""

    names: Sequence[str]
    rows: Sequence[MatrixRow]
    start: str
    num_classes: int

    @property
    def is_large(self) -> bool:
        """Whether class names need to stand upright."""
        return len(self.names) > LARGE

    @property
    def is_cut(self) -> bool:
        """Whether classes were left out."""
        return len(self.names) < self.num_classes

    @property
    def cells(self) -> list[Cell]:
        """Cells that hold videos: the mistakes first, the most frequent ones leading."""
        cells = [cell for row in self.rows for cell in row.cells if cell is not None]
        return sorted(cells, key=lambda cell: (cell.actual == cell.predicted, -cell.count))


def make_matrix(
    confusion: Sequence[ConfusionRow], class_names: Sequence[str], *, max_classes: int
) -> Matrix:
    """The table of all classes, or of those that have most to do with mistakes."""
    counts = {(row.actual, row.predicted): row.count for row in confusion if row.count}
    totals: dict[str, int] = defaultdict(int)
    mistakes: dict[str, int] = defaultdict(int)
    for (actual, predicted), number in counts.items():
        totals[actual] += number
        if actual != predicted:
            mistakes[actual] += number
            mistakes[predicted] += number
    chosen = set(sorted(class_names, key=lambda name: -mistakes[name])[:max_classes])
    names = [name for name in class_names if name in chosen]
    positions = {name: position for position, name in enumerate(class_names)}
    rows = [
        MatrixRow(
            name,
            [
                _cell(name, other, counts[name, other], totals[name], positions)
                if (name, other) in counts
                else None
                for other in names
            ],
        )
        for name in names
    ]
    matrix = Matrix(names=names, rows=rows, start="", num_classes=len(class_names))
    cells = matrix.cells
    return Matrix(names, rows, cells[0].id if cells else "", len(class_names))


def _cell(actual: str, predicted: str, number: int, total: int, positions: dict[str, int]) -> Cell:
    share = number / total
    kind = "right" if actual == predicted else "wrong"
    meaning = f"{actual} recognised" if actual == predicted else f"{actual} taken for {predicted}"
    return Cell(
        id=f"{positions[actual]}-{positions[predicted]}",
        actual=actual,
        predicted=predicted,
        count=number,
        share=f"{100 * share:.0f}",
        shade=round(share, 3),
        look=f"{kind} deep deeper"
        if share >= DEEPER
        else f"{kind} deep"
        if share >= DEEP
        else kind,
        label=f"{meaning}: {number} of {count(total, 'video')}, {percent(share)}",
    )
