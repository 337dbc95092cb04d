"""Arrange the confusion matrix for the page. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from slowfast_finetune.evaluation.result_tables import ConfusionRow


@dataclass(frozen=True)
class Cell:
    """The videos of one class that were predicted as one class."""

    id: str  # positions of the two classes, "0-3"
    actual: str
    predicted: str
    count: int
    total: int  # videos of the actual class

    @property
    def share(self) -> float:
        """Share of the videos of the actual class."""
        return self.count / self.total


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix; ``rows`` hold a cell for each of ``names``, None without videos."""

    names: Sequence[str]
    rows: Sequence[Sequence[Cell | None]]
    num_classes: int

    @property
    def cells(self) -> list[Cell]:
        """Cells with videos: the wrong predictions first, each by falling count."""
        cells = [cell for row in self.rows for cell in row if cell is not None]
        return sorted(cells, key=lambda cell: (cell.actual == cell.predicted, -cell.count))


def make_matrix(
    confusion: Sequence[ConfusionRow], class_names: Sequence[str], *, max_classes: int
) -> Matrix:
    """Make the matrix of all classes, or of those that have most wrong predictions."""
    counts = {(row.actual, row.predicted): row.count for row in confusion if row.count}
    totals: Counter[str] = Counter()
    mistakes: Counter[str] = Counter()
    for (actual, predicted), number in counts.items():
        totals[actual] += number
        if actual != predicted:
            mistakes.update({actual: number, predicted: number})
    shown = set(sorted(class_names, key=lambda name: -mistakes[name])[:max_classes])
    names = [(position, name) for position, name in enumerate(class_names) if name in shown]
    rows = [
        [
            Cell(f"{i}-{j}", actual, predicted, counts[actual, predicted], totals[actual])
            if (actual, predicted) in counts
            else None
            for j, predicted in names
        ]
        for i, actual in names
    ]
    return Matrix([name for _, name in names], rows, len(class_names))
