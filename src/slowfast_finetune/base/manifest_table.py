"""data/manifest.csv: a row a case, with its label, split, group and content hash.

A case is what has one label: a video, or a part of one.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple, Protocol, get_args

from slowfast_finetune.base.tables import Table

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
# The answer for a video that shows none of the classes; no class may have this name.
NONE_OF_THESE = "none of these"


# Columns that other tables share.
VideoPath = Annotated[str, "where the video lies"]
ClassName = Annotated[str, "the name of the class"]
Label = Annotated[int, "position of the class among the sorted class names, from 0"]
SplitName = Annotated[Split, "which part it belongs to"]
Group = Annotated[
    str | None, "what `labels.csv`, `groups.csv` or `data.group_pattern` joins it with"
]
ContentHash = Annotated[str, "BLAKE2b-128 of the file's bytes", "32 hex digits"]
StartSeconds = Annotated[
    float | None, "where the part of the video begins; none: the case is all of it", "seconds"
]
EndSeconds = Annotated[float | None, "where the part ends; none: where the video does", "seconds"]


def case_name(video_path: str, start_seconds: float | None, end_seconds: float | None) -> str:
    """Name a case: the path of its video, and of a part its times: ``a.mp4#t=3.2,8``.

    The form is that of Media Fragments URI 1.0 (W3C, 2012), in seconds.
    """
    if start_seconds is None:
        return video_path
    times = [start_seconds] if end_seconds is None else [start_seconds, end_seconds]
    return f"{video_path}#t={','.join(f'{time:.3f}'.rstrip('0').rstrip('.') for time in times)}"


class HasTimes(Protocol):
    """A row about a case, such as ManifestRow, ClipRow or VideoSummary."""

    @property
    def start_seconds(self) -> float | None: ...
    @property
    def end_seconds(self) -> float | None: ...


def case_noun(rows: Iterable[HasTimes]) -> str:
    """What people call these cases: "part" if one is a part of a video, else "video"."""
    return "part" if any(row.start_seconds is not None for row in rows) else "video"


class HasGroup(Protocol):
    """A row about a case, such as ManifestRow, ClipRow or PredictionRow."""

    @property
    def group(self) -> str | None: ...


def unit_noun(rows: Iterable[HasGroup]) -> str:
    """What people call a unit of resampling: "group" if one case has a group, else "video"."""
    return "group" if any(row.group for row in rows) else "video"


class ManifestRow(NamedTuple):
    """A video, or a part of one."""

    video_path: VideoPath
    class_name: ClassName
    label: Label
    split: SplitName
    group: Group
    content_hash: ContentHash
    start_seconds: StartSeconds = None
    end_seconds: EndSeconds = None
    table_row: Annotated[
        int | None, "of a part: number of its row in the table of labels, whose header is row 1"
    ] = None

    @property
    def case(self) -> str:
        """The name of the case, see :func:`case_name`."""
        return case_name(self.video_path, self.start_seconds, self.end_seconds)

    @property
    def is_background(self) -> bool:
        """Whether it is a part that no table names: ``index`` made it for data.background."""
        return self.start_seconds is not None and self.table_row is None


MANIFEST = Table("data/manifest.csv", ManifestRow, version=3)
