"""Lists of labelled videos as data sets and training programs have them, one video a line."""

import re
from collections.abc import Iterator

from slowfast_finetune.base.manifest_table import Split
from slowfast_finetune.indexing.label_table import read_labels
from slowfast_finetune.indexing.split_folders import SPLIT_FOLDERS
from slowfast_finetune.labelling.activitynet import cut_name
from slowfast_finetune.labelling.source_file import ListedLabel, SourceFile, reader_of

_KINETICS = {"label", "youtube_id", "time_start", "time_end"}
# UCF101 itself writes HandstandPushups/v_HandStandPushups_g01_c01.avi.
_UCF101 = re.compile(r"(?:.*/)?(\w+)/((v_(?i:\1)_g\d+)_c\d+\.avi)(?:\s+(\d+))?")
_OR = ", or --format paths"
_HMDB51_FILE = re.compile(r"(.+)_test_split\d\.txt")
_HMDB51 = re.compile(r"(.+\.avi)\s+([012])")
_HMDB51_SPLITS: dict[str, Split] = {"1": "train", "2": "test"}
# A path that ends in an extension, then the class; the extension parts them where both have spaces.
_PATH = re.compile(
    r"\"?(.+\.(?:[A-Za-z]\w{1,4}|3gp))\"?(?:\s*[,;\t]\s*|\s+)(?:(-?\d+)|(\S*[^\W\d].*))"
)
_CLASS = re.compile(r"(\d+)\s+(\S.*)")
_SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_FOLDERS)})(?:list)?(?![a-z])")


def _is_like(file: SourceFile, pattern: re.Pattern[str]) -> bool:
    """Whether the first line of a file is of a form; a fault may be further down."""
    return bool(file.lines) and file.json is None and bool(pattern.fullmatch(file.lines[0][1]))


def _matches(
    file: SourceFile, pattern: re.Pattern[str], expected: str
) -> Iterator[tuple[str, re.Match[str]]]:
    """Every line with its name; an error about the first that is not of the form."""
    for number, line in file.lines:
        if (match := pattern.fullmatch(line)) is None:
            raise file.error(f"line {number}", f"found {line!r}, expected {expected}")
        yield f"line {number}", match


def _split_in_name(file: SourceFile) -> Split | None:
    """The split that the file's name has a word for: train.csv, testlist01.txt."""
    splits = {SPLIT_FOLDERS[word] for word in _SPLIT_WORD.findall(file.path.stem.lower())}
    return splits.pop() if len(splits) == 1 else None


@reader_of("kinetics", "a list of Kinetics", lambda file: set(file.header) >= _KINETICS)
def kinetics(file: SourceFile) -> Iterator[ListedLabel]:
    """Read a CSV list of Kinetics: ``label,youtube_id,time_start,time_end,split``.

    Downloads are cut and called ID_000038_000048.mp4 (Crawler/Kinetics/download.py in
    github.com/activitynet/ActivityNet); in a whole video, ID.mp4, the label is of a part.
    """
    if not set(file.header) >= _KINETICS:
        raise file.error("line 1", f"expected columns {', '.join(sorted(_KINETICS))}")
    for where, row in file.table():
        start, end = (file.seconds(row[name], where) for name in ("time_start", "time_end"))
        yield ListedLabel(
            where,
            row["youtube_id"],
            row["label"],
            start,
            end,
            file.split(row["split"], where) if row.get("split") else _split_in_name(file),
            trimmed=cut_name(row["youtube_id"], start, end),
        )


@reader_of("ucf101", "a split list of UCF101", lambda file: _is_like(file, _UCF101))
def ucf101(file: SourceFile) -> Iterator[ListedLabel]:
    """Read trainlist01.txt or testlist01.txt: ``Archery/v_Archery_g08_c01.avi 3``.

    The folder is the class, and the name of the file tells the split (torchvision.datasets.UCF101
    reads the lists likewise; test lists have no numbers). Where names of classes are given, those
    count. The 25 groups of a class were cut from the same recordings each, and stay together.
    """
    split, names = _split_in_name(file), file.reading.class_names
    if split is None:
        raise file.error("its name", "tells no split; expected one such as trainlist01.txt" + _OR)
    for where, match in _matches(file, _UCF101, f"CLASS/v_CLASS_g01_c01.avi{_OR}"):
        folder, video, group, number = match.groups()
        label = folder
        if names is not None:
            label = _class_name(file, where, number) if number else folder
            if not number and folder not in names.values():
                raise file.error(where, f"has no number, and no class is named {folder!r}")
            if label != folder and folder in names.values():
                raise file.error(
                    where,
                    f"class {number} is named {label!r}, but the folder is {folder!r}; does the "
                    "list count from 0 and the file of names from 1, or the reverse?",
                )
        yield ListedLabel(where, f"{folder}/{video}", label, split=split, group=group)


@reader_of(
    "hmdb51",
    "a split list of HMDB51",
    lambda file: bool(_HMDB51_FILE.fullmatch(file.path.name)) and _is_like(file, _HMDB51),
)
def hmdb51(file: SourceFile) -> Iterator[ListedLabel]:
    """Read CLASS_test_split1.txt: ``NAME.avi 1``; 1 is for training, 2 for testing, 0 for neither.

    So torchvision.datasets.HMDB51 reads them. A video for neither is listed without a label, so
    that it is left out where its folder is there.
    """
    name = _HMDB51_FILE.fullmatch(file.path.name)
    if name is None:
        raise file.error("its name", "expected one such as brush_hair_test_split1.txt")
    for where, match in _matches(file, _HMDB51, "NAME.avi and 0, 1 or 2"):
        split = _HMDB51_SPLITS.get(match[2])
        yield ListedLabel(where, f"{name[1]}/{match[1]}", name[1] if split else None, split=split)


@reader_of("paths", "a list of paths and classes", lambda file: _is_like(file, _PATH))
def paths(file: SourceFile) -> Iterator[ListedLabel]:
    """Read a list of PySlowFast or MMAction2: ``some/path/000.mp4 1``.

    PySlowFast (slowfast/datasets/DATASET.md and kinetics.py): train.csv, val.csv, test.csv,
    separated by a space or by what DATA.PATH_LABEL_SEPARATOR says. MMAction2
    (mmaction/datasets/video_dataset.py): .txt. Here paths may have spaces, and the class may be a
    name. Without names, class 12 is called class_12.
    """
    split = _split_in_name(file)
    for where, match in _matches(file, _PATH, "the path of a video and its one class"):
        video, number, label = match.groups()
        if number is not None:
            label = _class_name(file, where, number)
        yield ListedLabel(where, video, label, split=split)


def _class_name(file: SourceFile, where: str, number: str) -> str:
    names = file.reading.class_names
    if names is None:
        file.reading.remark("classes are numbers: 12 becomes class_12; --classes gives names")
        return f"class_{number}"
    if int(number) not in names:
        raise file.error(where, f"class {number} is not among the {len(names)} with names")
    return names[int(number)]


@reader_of(
    "csv", "a labels.csv", lambda file: {"video", "label"} <= set(map(str.lower, file.header))
)
def labels_csv(file: SourceFile) -> Iterator[ListedLabel]:
    """Read a labels.csv, to look for its videos anew."""
    for video, rows in read_labels(file.path).rows.items():
        for number, row in rows:
            yield ListedLabel(f"row {number}", video, *row[1:])


def is_class_list(file: SourceFile) -> bool:
    """Whether a file is a list such as UCF101's classInd.txt: ``1 ApplyEyeMakeup``."""
    return _is_like(file, _CLASS) and not _is_like(file, _PATH)


def read_class_names(file: SourceFile) -> dict[int, str]:
    """Names of classes by number.

    From lines with number and name (classInd.txt), lines with names alone, numbered from 0
    (MMAction2's label_map_k400.txt), or JSON ``{"name": number}`` (PySlowFast's
    DEMO.LABEL_FILE_PATH).

    Raises:
        DataError: a number is there twice, or none.
    """
    if isinstance(file.json, dict):
        pairs = [(number, name) for name, number in file.json.items()]
    elif is_class_list(file):
        lines = _matches(file, _CLASS, "the number of a class and its name")
        pairs = [(int(match[1]), match[2]) for _, match in lines]
    else:
        pairs = [(number, line) for number, (_, line) in enumerate(file.lines)]
    names = dict(pairs)
    if len(names) < len(pairs) or not all(type(number) is int for number in names):
        raise file.error("classes", "expected a whole number for each name, none of them twice")
    return names
