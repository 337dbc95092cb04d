"""The state of an unfinished run: kept outside the outputs, which DVC deletes before each run.

A state belongs to one configuration: parameters, clips, code, devices. Another one never goes on
from it. It is written under a temporary name and renamed, so whenever the run is killed, what lies
there is whole; it is deleted when the run ends well.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast_finetune.base.files import atomic_path
from slowfast_finetune.model.loading import UnreadableError, load_plain
from slowfast_finetune.training.engine import Learner, Sofar
from slowfast_finetune.training.history import EpochRow
from slowfast_finetune.training.optimisation import Part
from slowfast_finetune.training.tally import Tally

FOLDER = ".unfinished"
PARTS: tuple[Part, ...] = ("head", "backbone")


def fingerprint_of(settings: Mapping[str, Any], tensors: Iterable[Tensor]) -> str:
    """A digest of what a run's result depends on: plain values, code, and initial weights."""
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for path in _source_files():
        digest.update(path.name.encode() + path.read_bytes())
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
    return digest.hexdigest()


def _source_files() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    rooms = ("base", "decoding", "clips", "model", "scoring", "training")
    return sorted(path for room in rooms for path in (package / room).glob("*.py"))


class UnfinishedRun:
    """The files of an unfinished run beside the checkpoint that it is to make.

    Args:
        models: the folder of that checkpoint.
        fingerprint: of this run.
    """

    def __init__(self, models: Path, *, fingerprint: str) -> None:
        self.folder = models / FOLDER
        self._fingerprint = fingerprint
        self._state = self.folder / "state.pt"
        self._kept = 0  # the epoch whose checkpoint this run has kept

    def load(self) -> dict[str, Any] | str | None:
        """The state of this configuration; why one that is there is not used; or None.

        Such a state stays until this run has something to put in its place.
        """
        try:
            content = load_plain(self._state)
        except FileNotFoundError:
            return None
        except (UnreadableError, OSError) as error:
            return f"an unfinished run in {self.folder} cannot be read ({error})"
        if not isinstance(content, dict) or content.get("fingerprint") != self._fingerprint:
            return f"an unfinished run in {self.folder} is of other parameters, clips or code"
        if not self._best(content["best_epoch"]).exists() and content["best_epoch"]:
            return f"an unfinished run in {self.folder} lacks its best epoch"
        self._kept = content["best_epoch"]
        return content

    def save(self, content: Mapping[str, Any]) -> None:
        """Replace the state.

        Raises:
            OSError: there is no room for it; the state before is as it was.
        """
        with atomic_path(self._state) as temporary:
            try:
                torch.save({**content, "fingerprint": self._fingerprint}, temporary)
            except RuntimeError as error:
                # What torch makes of a full disk.
                raise OSError(f"{self._state} cannot be written") from error
        for path in self.folder.glob("best-*.pt"):
            if path != self._best(content["best_epoch"]):
                path.unlink(missing_ok=True)

    def keep_best(self, checkpoint: Path, *, epoch: int) -> None:
        """Keep the best epoch's checkpoint; DVC deletes the one among the outputs."""
        if epoch == self._kept:
            return
        with atomic_path(self._best(epoch)) as temporary:
            shutil.copyfile(checkpoint, temporary)
        self._kept = epoch

    def give_back_best(self, checkpoint: Path, *, epoch: int) -> None:
        """Put the best epoch's checkpoint where it belongs."""
        with atomic_path(checkpoint) as temporary:
            shutil.copyfile(self._best(epoch), temporary)

    def clear(self) -> None:
        """Delete everything; the run has ended well."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _best(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.pt"


def state_of(
    learner: Learner, rows: Sequence[EpochRow], sofar: Sofar | None, *, best_epoch: int
) -> dict[str, Any]:
    """All that is needed to go on, as tensors and plain values."""
    scaler = learner.fabric.strategy.precision.state_dict()
    return {
        "rows": [row._asdict() for row in rows],
        "best_epoch": best_epoch,
        "classifier": learner.classifier.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "average": None if learner.average is None else learner.average.state_dict(),
        "scaler": scaler,
        "sofar": None if sofar is None else _plain(sofar),
    }


def _plain(sofar: Sofar) -> dict[str, Any]:
    return {
        "step": sofar.step,
        "tally": sofar.tally.state(),
        "grad_norms": {part: torch.stack(sofar.grad_norms[part]).cpu() for part in PARTS},
        "seconds": sofar.seconds,
        "waiting_seconds": sofar.waiting_seconds,
    }


def put_back(learner: Learner, state: Mapping[str, Any]) -> tuple[list[EpochRow], Sofar | None]:
    """Bring the learner to a saved state; gives the finished epochs and the unfinished one."""
    learner.classifier.load_state_dict(state["classifier"])
    learner.optimizer.load_state_dict(state["optimizer"])
    if learner.average is not None:
        learner.average.load_state_dict(state["average"])
    learner.fabric.strategy.precision.load_state_dict(state["scaler"])
    rows = [EpochRow(**row) for row in state["rows"]]
    return rows, None if state["sofar"] is None else _sofar(state["sofar"], learner.fabric)


def _sofar(plain: Mapping[str, Any], fabric: Any) -> Sofar:
    # The tally is that of all devices; one of them counts it.
    tally = Tally.of(plain["tally"]) if fabric.is_global_zero else Tally()
    norms = {part: list(plain["grad_norms"][part].to(fabric.device)) for part in PARTS}
    return Sofar(plain["step"], tally, norms, plain["seconds"], plain["waiting_seconds"])


class Clock:
    """Says when so many minutes have passed since it last did.

    Args:
        now: seconds that only grow.
    """

    def __init__(self, minutes: float, *, now: Callable[[], float]) -> None:
        self._seconds = 60 * minutes
        self._now = now
        self._last = now()

    def is_time(self) -> bool:
        """Whether it is time; counts anew if so."""
        if self._now() - self._last < self._seconds:
            return False
        self._last = self._now()
        return True
