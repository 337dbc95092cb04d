"""The state of an unfinished run: kept outside the outputs, which DVC deletes before each run.

A state belongs to one configuration: parameters, clips, code, devices. Another one never resumes
from it. It is written under a temporary name and renamed, so whenever the run is killed, what lies
there is whole; it is deleted when the run ends well.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast_finetune.base.files import atomic_path
from slowfast_finetune.model.loading import UnreadableError, load_plain

FOLDER = ".unfinished"
# The package's code that decides the weights: what the train stage depends on in dvc.yaml, where a
# test compares. The stage script itself only names files.
CODE = ("__init__.py", "base", "decoding", "clips", "model", "scoring", "training")
# Compiled and editors' files, as in .dvcignore.
_NO_CODE = ("__pycache__", "*~", ".*")


def fingerprint_of(settings: Mapping[str, Any], tensors: Iterable[Tensor]) -> str:
    """A digest of all that decides a run's result: plain values, code, and initial weights."""
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    digest.update(digest_of_code(Path(__file__).resolve().parents[1]).encode())
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
    return digest.hexdigest()


def digest_of_code(package: Path) -> str:
    """A digest of all files of ``CODE`` in the folder of the package, names included."""
    digest = hashlib.blake2b(digest_size=16)
    for place in CODE:
        for path in sorted([package / place, *(package / place).rglob("*")]):
            name = path.relative_to(package)
            skipped = any(fnmatch(part, kind) for part in name.parts for kind in _NO_CODE)
            if path.is_file() and not skipped:
                content = path.read_bytes()
                digest.update(f"{name.as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


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
