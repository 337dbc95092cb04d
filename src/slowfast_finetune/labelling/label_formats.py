"""The formats of labels that are read, and which of them a file has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.labelling import activitynet, label_studio
from slowfast_finetune.labelling import annotation_tools as tools
from slowfast_finetune.labelling import data_set_lists as lists
from slowfast_finetune.labelling.source_file import ListedLabel, SourceFile


class LabelFormat(NamedTuple):
    """A format: its name, what it is, whether a file has it, and its reader."""

    name: str
    title: str
    recognise: Callable[[SourceFile], bool]
    read: Callable[[SourceFile], Iterator[ListedLabel]]


FORMATS = (
    LabelFormat("csv", "a labels.csv", lists.is_labels_csv, lists.read_labels_csv),
    LabelFormat("kinetics", "a list of Kinetics", lists.is_kinetics, lists.read_kinetics),
    LabelFormat(
        "activitynet", "JSON of ActivityNet or Kinetics", activitynet.recognise, activitynet.read
    ),
    LabelFormat("ucf101", "a split list of UCF101", lists.is_ucf101, lists.read_ucf101),
    LabelFormat("hmdb51", "a split list of HMDB51", lists.is_hmdb51, lists.read_hmdb51),
    LabelFormat("label-studio", "JSON of Label Studio", label_studio.recognise, label_studio.read),
    LabelFormat("boris", "events of BORIS", tools.is_boris, tools.read_boris),
    LabelFormat("elan", "a document of ELAN", tools.is_eaf, tools.read_eaf),
    LabelFormat(
        "elan-text", "tab-delimited text of ELAN", tools.is_elan_text, tools.read_elan_text
    ),
    LabelFormat("via", "a project or CSV of VIA 3", tools.is_via, tools.read_via),
    # Last: lines of others may look like a path and a class.
    LabelFormat("paths", "a list of paths and classes", lists.is_path_list, lists.read_path_list),
)


def recognise(file: SourceFile, name: str | None = None) -> LabelFormat:
    """The format of a file, by its content or as its name says.

    Raises:
        DataError: it is none of these.
    """
    for known in FORMATS:
        if known.name == name if name else known.recognise(file):
            return known
    first = file.lines[0][1].strip() if file.lines else ""
    known_names = ", ".join(known.name for known in FORMATS)
    raise DataError(
        f"{file.path}: no known format; it starts with {first[:60]!r}, "
        f"expected one of {known_names} (docs/labels.md); --format NAME says which"
    )
