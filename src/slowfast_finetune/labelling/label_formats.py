"""The formats of labels that are read, and which of them a file has."""

from __future__ import annotations

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.labelling import annotation_tools as tools
from slowfast_finetune.labelling import data_set_lists as lists
from slowfast_finetune.labelling.activitynet import activitynet_json
from slowfast_finetune.labelling.label_studio import label_studio_json
from slowfast_finetune.labelling.source_file import LabelFormat, SourceFile

# The paths last: lines of other formats may look like a path and a class.
FORMATS = (
    *(lists.labels_csv, lists.kinetics, activitynet_json, lists.ucf101, lists.hmdb51),
    *(label_studio_json, tools.boris, tools.elan, tools.elan_text, tools.via, lists.paths),
)


def format_of(file: SourceFile, name: str | None = None) -> LabelFormat:
    """The format of a file, by its content or as its name says.

    Raises:
        DataError: it is none of these.
    """
    for known in FORMATS:
        if known.name == name if name else known.recognise(file):
            return known
    found = f"--format {name}" if name else repr(file.lines[0][1][:60] if file.lines else "")
    raise DataError(
        f"{file.path}: no known format: found {found}, expected one of "
        f"{', '.join(known.name for known in FORMATS)} (docs/labels.md); --format NAME chooses "
        "one, and a table of your own needs the columns video and label"
    )
