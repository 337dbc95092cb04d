"""Record a training run: a table on the console, a log, metrics/history.csv, TensorBoard."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, TextIO

from slowfast_finetune.base.console import say
from slowfast_finetune.base.extras import import_extra
from slowfast_finetune.base.tables import SHARE, Table


class EpochRow(NamedTuple):
    """One epoch. Losses are means over clips."""

    epoch: Annotated[int, "from 1"]
    train_loss: Annotated[
        float, "cross-entropy, with smoothing, class weights and mixing where they are set"
    ]
    val_loss: Annotated[float, "cross-entropy"]
    train_accuracy: Annotated[float, "share of the training clips classified right", SHARE]
    val_accuracy: Annotated[float, "share of the validation clips classified right", SHARE]
    train_macro_precision: Annotated[float, "precision, mean over classes", SHARE]
    val_macro_precision: Annotated[float, "precision, mean over classes", SHARE]
    train_macro_recall: Annotated[float, "recall, mean over classes", SHARE]
    val_macro_recall: Annotated[float, "recall, mean over classes", SHARE]
    train_macro_f1: Annotated[float, "F1, mean over classes", SHARE]
    val_macro_f1: Annotated[float, "F1, mean over classes", SHARE]
    train_weighted_precision: Annotated[float, "precision, weighted by videos", SHARE]
    val_weighted_precision: Annotated[float, "precision, weighted by videos", SHARE]
    train_weighted_recall: Annotated[float, "recall, weighted by videos", SHARE]
    val_weighted_recall: Annotated[float, "recall, weighted by videos", SHARE]
    train_weighted_f1: Annotated[float, "F1, weighted by videos", SHARE]
    val_weighted_f1: Annotated[float, "F1, weighted by videos", SHARE]
    grad_norm: Annotated[float, "mean L2 norm of the gradient over the steps, before clipping"]
    grad_norm_head: Annotated[float, "the same of the last layer"]
    grad_norm_backbone: Annotated[float, "the same of the other layers"]
    learning_rate: Annotated[float, "of the last layer, at the first step of the epoch"]
    learning_rate_backbone: Annotated[float, "of the other layers, the highest of theirs"]
    clips_per_second: Annotated[float, "of the training pass, over all devices", "clips a second"]
    data_wait_fraction: Annotated[
        float, "share of the training pass spent waiting for clips", SHARE
    ]
    peak_memory_mb: Annotated[
        float, "most memory held so far: tensors on the GPU, else the whole process", "MB"
    ]
    train_seconds: Annotated[float, "duration of the training pass", "seconds"]
    epoch_seconds: Annotated[float, "duration of training and validation", "seconds"]
    penalty: Annotated[float | None, "of a probe: the weight λ of the L2 penalty"] = None


HISTORY = Table("metrics/history.csv", EpochRow, version=2)
COLUMNS = (
    "  epoch   loss  val loss    acc  val acc  val F1  grad norm  learn rate  clips/s  data wait"
    "  memory  seconds"
)


class Recorder:
    """Writes every line to the console and the log, and every epoch to history.csv.

    ``with Recorder(…) as recorder:`` closes the files, and logs why a run stopped.

    Args:
        events: folder for TensorBoard; None for none.
        leads: False makes one that writes nothing, for all processes but the first.

    Raises:
        InputError: TensorBoard is turned on and not installed.
    """

    def __init__(
        self, *, log: Path, history: Path, events: Path | None = None, leads: bool = True
    ) -> None:
        self._events = _event_writer(events) if leads and events is not None else None
        self._log: TextIO | None = None
        if leads:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log = log.open("w", encoding="utf-8")
        self._history = history
        self._rows: list[EpochRow] = []

    def note(self, text: str) -> None:
        """Write a line to the console and the log."""
        if self._log is not None:
            say(text)
            print(text, file=self._log, flush=True)

    def epoch(self, row: EpochRow, *, is_best: bool) -> None:
        """Write an epoch as a line of the table and a row of history.csv."""
        if self._log is None:
            return
        if not self._rows:
            self.note(COLUMNS)
        self._rows.append(row)
        HISTORY.write(self._history, self._rows)
        self.note(
            f"{row.epoch:7d}{row.train_loss:7.3f}{row.val_loss:10.3f}{row.train_accuracy:7.3f}"
            f"{row.val_accuracy:9.3f}{row.val_macro_f1:8.3f}{row.grad_norm:11.3g}"
            f"{row.learning_rate:12.2e}{row.clips_per_second:9.1f}{row.data_wait_fraction:11.1%}"
            f"{row.peak_memory_mb / 1000:5.1f} GB{row.epoch_seconds:9.1f}"
            + ("  best" if is_best else "")
        )
        if self._events is not None:
            for name, value in zip(row._fields[1:], row[1:], strict=True):
                if value is not None:
                    self._events.add_scalar(name, value, row.epoch)
            self._events.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._log is not None:
            if isinstance(error, Exception):
                # The console has it as the error of the command.
                print(f"stopped: {type(error).__name__}: {error}", file=self._log)
            self._log.close()
        if self._events is not None:
            self._events.close()


def _event_writer(folder: Path) -> Any:
    import_extra("tensorboard", extra="tensorboard", what="runtime.tensorboard: true")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
