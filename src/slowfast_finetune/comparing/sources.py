"""Read predictions of runs from files or from revisions of the project."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, Predictions
from slowfast_finetune.timelines.timeline_tables import TIMELINES, TimelineRow

TRAINED = "metrics/train.json"
# Tables of older versions have these columns, and others are not needed.
REQUIRED = ("video_path", "group", "actual", "predicted")


def read_predictions(source: str) -> Predictions:
    """Read the predictions in a file, or of a commit, branch, tag or experiment.

    Raises:
        DataError: there is no such file or revision, or it has no valid predictions.
    """
    file = io.StringIO(_text_of(source, PREDICTIONS.file), newline="")
    frame = PREDICTIONS.parse(file, source=source, required=REQUIRED)
    return Predictions.of(frame, source=source)


def read_timelines(source: str) -> list[TimelineRow]:
    """Read the timelines beside a file of predictions, or of a revision; none if it has none."""
    text = _beside(source, TIMELINES.file)
    if text is None:
        return []
    return TIMELINES.rows(TIMELINES.parse(io.StringIO(text, newline=""), source=source))


def warnings_of(sources: Sequence[str]) -> list[str]:
    """Say of which runs test videos trained the first weights, by their metrics/train.json."""
    return [
        f"warning: {source}: {number} of its test videos trained the weights that it began with; "
        "its accuracy is too high"
        for source in sources
        if (number := run_of(source).get("test_videos_seen"))
    ]


def run_of(source: str) -> dict[str, Any]:
    """What metrics/train.json of a run says of it; empty without one, or in an older form."""
    try:
        return dict(json.loads(_beside(source, TRAINED) or "{}")["run"][0])
    except (ValueError, TypeError, LookupError):
        return {}


def _beside(source: str, table: str) -> str | None:
    """The text of another file of the run whose predictions are in a source; None without it."""
    if not Path(source).is_file():
        try:
            return _text_of(source, table)
        except DataError:
            return None
    beside = Path(source).with_name(Path(table).name)
    return _text_of(str(beside), table) if beside.is_file() else None


def _text_of(source: str, table: str) -> str:
    path = Path(source)
    if path.is_file():
        try:
            return path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{source}: is not a CSV table: {error}") from error
    # DVC resolves names of experiments, and reads files from git or from its own cache.
    from dvc import api
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        text: str = api.read(table, rev=source, encoding="utf-8")
    except (DvcException, SCMError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{source}: is neither a file nor a revision with {table}: {reason}"
        ) from error
    return text


def check_same_classes(runs: Sequence[Predictions]) -> None:
    """Refuse predictions of different classes.

    Raises:
        DataError: naming a class that only one of them has.
    """
    first = runs[0]
    for other in runs[1:]:
        strangers = sorted(set(first.class_names) ^ set(other.class_names))
        if strangers:
            knows = first if strangers[0] in first.class_names else other
            raise DataError(
                f"{first.source} and {other.source} have different classes: "
                f"only {knows.source} has {strangers[0]!r}"
            )
        if first.class_names != other.class_names:
            raise DataError(f"{first.source} and {other.source} number the classes differently")
