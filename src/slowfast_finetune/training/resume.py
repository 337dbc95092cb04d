"""The state of an unfinished run: kept outside the outputs, which DVC deletes before each run.

A state belongs to one configuration: parameters, clips, code, devices. Another one never resumes
from it. It is written under a temporary name and renamed, so whenever the run is killed, what lies
there is whole; it is deleted when the run ends well.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from slowfast_finetune.base.errors import TrainingError
from slowfast_finetune.base.files import atomic_path
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.model.checkpoint import Checkpoint, UnreadableError, load_plain
from slowfast_finetune.training.learner import Learner

FOLDER = ".unfinished"
# The package's code that decides the weights: what the train stage depends on in dvc.yaml, where a
# test compares. The stage script itself only names files.
CODE = ("__init__.py", "base", "decoding", "clips", "model", "scoring", "features", "training")
# Compiled and editors' files, as in .dvcignore.
_NO_CODE = ("__pycache__", "*~", ".*")


def fingerprint(
    learner: Learner,
    description: Checkpoint,
    rows: Sequence[ClipRow],
    *,
    batch_size_per_device: int,
) -> str:
    """A digest of all that decides a run's result: settings, clips, code and initial weights.

    Args:
        rows: training and validation videos, in the order that the steps of an epoch follow from.
    """
    settings = {
        "params": {key: description.params[key] for key in ("clip", "model", "train", "augment")},
        "made_from": {
            key: value for key, value in description.provenance.items() if key != "git_commit"
        },
        "classes": description.class_names,
        "order": [
            (row.content_hash, row.label, row.start_seconds, row.end_seconds) for row in rows
        ],
        "batch_size_per_device": batch_size_per_device,
        "compiled": learner.compiled is not learner.classifier,
    }
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    digest.update(digest_of_code(Path(__file__).resolve().parents[1]).encode())
    for tensor in learner.classifier.state_dict().values():
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


@dataclass(frozen=True)
class UnfinishedRun:
    """The state of an unfinished run, in a folder beside the checkpoint that it is to make."""

    folder: Path
    fingerprint: str

    def load(self) -> dict[str, Any] | str | None:
        """The state of this configuration; why one that is there is not used; or None.

        Such a state stays until this run has something to put in its place.
        """
        try:
            content = load_plain(self.folder / "state.pt")
        except FileNotFoundError:
            return None
        except (UnreadableError, OSError) as error:
            return f"an unfinished run in {self.folder} cannot be read ({error})"
        if not isinstance(content, dict) or content.get("fingerprint") != self.fingerprint:
            return f"an unfinished run in {self.folder} is of other parameters, clips or code"
        return content

    def save(self, content: Mapping[str, Any]) -> None:
        """Replace the state.

        Raises:
            OSError: there is no room for it; the state before is as it was.
        """
        with atomic_path(self.folder / "state.pt") as temporary:
            try:
                torch.save({**content, "fingerprint": self.fingerprint}, temporary)
            except RuntimeError as error:
                # What torch makes of a full disk.
                raise OSError(f"{self.folder / 'state.pt'} cannot be written") from error

    def clear(self) -> None:
        """Delete everything; the run has ended well."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def run_lock(models: Path) -> Iterator[None]:
    """Let one process train into a folder at a time: a killed `dvc repro` may leave one.

    Raises:
        TrainingError: another process does; says which.
    """
    from filelock import FileLock, Timeout

    models.mkdir(parents=True, exist_ok=True)
    path, owner = models / ".training.lock", models / ".training.pid"
    try:
        with FileLock(path, blocking=False):
            owner.write_text(str(os.getpid()))
            yield
    except Timeout as error:
        process = owner.read_text() if owner.exists() else "?"
        raise TrainingError(
            f"process {process} is training into {models}, perhaps left over from "
            f"a killed `dvc repro`; wait for it, or stop it: kill {process}"
        ) from error
