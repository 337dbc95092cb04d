"""What a model answered: predictions.csv, of the workspace or of any revision, as arrays."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.errors import DataError

Labels = npt.NDArray[np.int64]

PREDICTIONS = "metrics/predictions.csv"
COLUMNS = ("video_path", "group", "actual", "predicted")


@dataclass(frozen=True)
class Answers:
    """What one model answered on its test videos.

    Attributes:
        source: the file or revision they come from, as the person named it.
        video_paths: (N,), each once.
        groups: (N,) what is judged together, by name; None for a video of its own.
        class_names: by label.
        actual, predicted: labels (N,).
        probability_of_actual: float64 (N,), 0 to 1.
    """

    source: str
    video_paths: tuple[str, ...]
    groups: tuple[str | None, ...]
    class_names: tuple[str, ...]
    actual: Labels
    predicted: Labels
    probability_of_actual: npt.NDArray[np.float64]


def read_answers(source: str) -> Answers:
    """Answers of a predictions.csv file, or of a revision: commit, branch, tag or experiment.

    Raises:
        DataError: neither a file nor a revision that has predictions, or not predictions.
    """
    return parse_answers(read_predictions_text(source), source=source)


def read_predictions_text(source: str) -> str:
    """The text of a predictions.csv file, or of metrics/predictions.csv at a revision.

    Raises:
        DataError: neither a file nor a revision that has predictions.
    """
    path = Path(source)
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{source}: is not a CSV table: {error}") from error
    # DVC knows the names of experiments, and finds a file in git as well as in its own cache.
    from dvc import api
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        text: str = api.read(PREDICTIONS, rev=source, encoding="utf-8")
    except (DvcException, SCMError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{source}: is no file, and as a revision it has no {PREDICTIONS}: {reason}"
        ) from error
    return text


def parse_answers(text: str, *, source: str) -> Answers:
    """Answers in the text of a predictions.csv.

    Raises:
        DataError: a column is missing, a cell is not what it should be, a video occurs twice.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    found = reader.fieldnames or ()
    lacking = [name for name in COLUMNS if name not in found]
    class_names = tuple(name[2:-1] for name in found if name.startswith("p(") and name[-1] == ")")
    if lacking or not class_names:
        raise DataError(
            f"{source}: column {', '.join([*lacking, *['p(<class>)'] * (not class_names)])} is "
            "missing; predictions.csv of an older version? run `dvc repro` there"
        )
    rows = list(reader)
    if not rows:
        raise DataError(f"{source}: holds no video")
    paths = tuple(row["video_path"] for row in rows)
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise DataError(f"{source}: {twice!r} is there twice")
    label_of = {name: label for label, name in enumerate(class_names)}
    try:
        answers = Answers(
            source=source,
            video_paths=paths,
            groups=tuple(row["group"] or None for row in rows),
            class_names=class_names,
            actual=np.array([label_of[row["actual"]] for row in rows], dtype=np.int64),
            predicted=np.array([label_of[row["predicted"]] for row in rows], dtype=np.int64),
            probability_of_actual=np.array([float(row[f"p({row['actual']})"]) for row in rows]),
        )
    except KeyError as error:
        raise DataError(f"{source}: has no column p({error.args[0]})") from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: a probability is not a number: {error}") from error
    possible = (answers.probability_of_actual >= 0) & (answers.probability_of_actual <= 1)
    if not possible.all():
        found = answers.probability_of_actual[~possible][0]
        raise DataError(f"{source}: found probability {found:g}, expected 0 to 1")
    return answers


def check_same_classes(answers: Sequence[Answers]) -> None:
    """Refuse answers over different classes.

    Raises:
        DataError: naming a class that only some know.
    """
    first = answers[0]
    for other in answers[1:]:
        strangers = sorted(set(first.class_names) ^ set(other.class_names))
        if strangers:
            knows = first if strangers[0] in first.class_names else other
            raise DataError(
                f"{first.source} and {other.source} tell other classes apart: "
                f"only {knows.source} knows {strangers[0]!r}"
            )
        if first.class_names != other.class_names:
            raise DataError(f"{first.source} and {other.source} number the classes differently")
