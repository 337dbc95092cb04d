"""Lay out the small charts of the page; charts.html draws them as SVG. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from slowfast_finetune.comparing.crossval_files import CurveRow
from slowfast_finetune.evaluation.result_tables import ConfusionRow, ReliabilityRow
from slowfast_finetune.training.history import EpochRow

WIDTH, HEIGHT = 460, 250  # of a chart, which is scaled to its column [px]
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 24, 36  # margins for the axes [px]
TICK_SPACE = 40  # between numbers below a logarithmic axis [px]
COUNTS = 44  # height of the bars of counts below the reliability diagram [px]
# Title, and the columns of metrics/history.csv by the names of their curves.
CURVES = (
    ("Loss", {"validation": "val_loss", "training": "train_loss"}),
    ("Accuracy", {"validation": "val_accuracy", "training": "train_accuracy"}),
    ("Learning rate", {"head": "learning_rate", "backbone": "learning_rate_backbone"}),
    ("Gradient norm", {"head": "grad_norm_head", "backbone": "grad_norm_backbone"}),
)


@dataclass(frozen=True)
class Axis:
    """An axis that shows ``low`` to ``high`` at the pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    is_log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        value, low, high = (
            math.log(each) if self.is_log else each for each in (value, self.low, self.high)
        )
        share = (value - low) / ((high - low) or 1)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True)
class Chart:
    """Curves or points over two axes."""

    title: str
    x: Axis
    y: Axis
    curves: Mapping[str, Sequence[tuple[float, float]]]  # finite points (x, y), by name
    height: int = HEIGHT  # of the whole chart [px]


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Return round numbers that cover ``low`` to ``high``, 1, 2 or 5 times a power of ten apart."""
    raw = ((high - low) or abs(high) or 1.0) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def training_curves(history: Sequence[EpochRow]) -> list[Chart]:
    """Lay out the charts of training, over the epochs."""
    if not history:
        return []
    first, last = history[0].epoch, history[-1].epoch
    epochs = [tick for tick in ticks(first, last) if first <= tick <= last and tick == int(tick)]
    x = Axis(first, last, LEFT, WIDTH - RIGHT, epochs)
    charts = []
    for title, columns in CURVES:
        curves = {
            name: [
                (row.epoch, float(getattr(row, column)))
                for row in history
                if math.isfinite(getattr(row, column))
            ]
            for name, column in columns.items()
        }
        ys = [y for points in curves.values() for _, y in points]
        y_ticks = ticks(min([0.0, *ys]), max(ys, default=1.0))
        y = Axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP, y_ticks)
        charts.append(Chart(title, x, y, curves))
    return charts


def reliability_chart(rows: Sequence[ReliabilityRow]) -> Chart:
    """Lay out the reliability diagram, with space for the counts of videos below it."""
    marks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    height = HEIGHT + 70
    x = Axis(0, 1, LEFT, WIDTH - RIGHT, marks)
    y = Axis(0, 1, height - BOTTOM - COUNTS, TOP, marks)
    points = [(row.confidence, row.accuracy) for row in rows]
    return Chart("Reliability diagram", x, y, {"accuracy": points}, height)


def learning_chart(curve: Sequence[CurveRow]) -> Chart:
    """Lay out the accuracy by the number of training videos, whose axis is logarithmic."""
    numbers = sorted({row.num_videos for row in curve})
    x = Axis(numbers[0], numbers[-1], LEFT, WIDTH - RIGHT, [], is_log=True)
    marks = [numbers[-1]]  # from the right, as many as do not touch
    for number in reversed(numbers):
        if x.at(marks[0]) - x.at(number) >= TICK_SPACE:
            marks.insert(0, number)
    y = Axis(0, 1, HEIGHT - BOTTOM, TOP, [0, 0.2, 0.4, 0.6, 0.8, 1.0])
    points = [(row.num_videos, row.accuracy) for row in curve]
    title = "Accuracy by number of training videos"
    return Chart(title, replace(x, ticks=marks), y, {"accuracy": points})


def short(value: float) -> str:
    """Format a value beside an axis: "0.5", "2e-5"."""
    return f"{value:g}".replace("e-0", "e-")


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
