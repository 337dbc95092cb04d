"""Recognise the folders of a split: train/, val/, test/ and common variants of these names."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.manifest_table import SPLITS, Split

_NAMES: dict[Split, str] = {
    "train": "train training",
    "val": "val valid validation validate dev",
    "test": "test testing",
}
SPLIT_FOLDERS = {name: split for split, names in _NAMES.items() for name in names.split()}
# Names that may mean a split, but are too ambiguous to act on: train_set, testdata, eval.
_LOOSELY = SPLIT_FOLDERS | dict.fromkeys(("eval", "evaluation", "holdout"), SPLITS[-1])
# Only where folders differ in these words alone: clips_train and clips_test, tr and te.
_IN_NAMES = _LOOSELY | {"trn": "train", "tr": "train", "va": "val", "tst": "test", "te": "test"}
_PATTERN = re.compile(rf"({'|'.join(_LOOSELY)})[\s_.-]*(set|data|split|list|videos?|clips?|\d+)?")
_CURE = (
    "name the parts of a split train, val and test, with nothing beside them (or list the "
    "others in data.exclude), or give classes other names"
)


def split_meant(name: str) -> Split | None:
    """The split that a folder of this name may stand for."""
    match = _PATTERN.fullmatch(name.lower())
    return None if match is None else _LOOSELY[match[1]]


def _differing_in_split(names: Iterable[str]) -> dict[str, Split]:
    """The splits of those names that differ in nothing but numbers and a word for a split."""
    alike: dict[tuple[str, ...], dict[str, Split]] = defaultdict(dict)
    for name in names:
        words = re.findall(r"[^\W\d_]+", name.lower())
        for position, word in enumerate(words):
            if word in _IN_NAMES:
                rest = (*words[:position], *words[position + 1 :])
                alike[rest][name] = _IN_NAMES[word]
    found = [splits for splits in alike.values() if len(set(splits.values())) > 1]
    return {name: split for splits in found for name, split in splits.items()}


def given_splits(root: Path, folders: Mapping[str, Set[str]]) -> tuple[dict[str, Split], list[str]]:
    """Decide whether the folders in ``root`` are a split.

    Args:
        folders: for the name of each folder in ``root``, the names of the folders in it.

    Returns:
        The split of each folder; empty if the folders are classes. And warnings.

    Raises:
        DataError: it cannot be told whether they are classes or a split, two folders stand for one
            split, or there is no train folder.
    """
    meant = _differing_in_split(folders)
    meant |= {name: split for name in folders if (split := split_meant(name))}
    exact = {name: split for name, split in meant.items() if name.lower() in SPLIT_FOLDERS}
    if not meant:
        return {}, []
    if len(exact) < len(folders):
        shown, others = ", ".join(meant), [name for name in folders if name not in meant]
        holds_classes = any(folders[name] & set(others) for name in meant)
        if holds_classes or len(set(meant.values())) > 1 or not others:
            beside = f", but {', '.join(others[:3])} beside them do not" if others else ""
            raise DataError(
                f"data.videos: {root}: the names {shown} stand for a split{beside}; {_CURE}"
            )
        return {}, [f"WARNING: {shown} is taken for a class, though the name stands for a split"]
    for split in SPLITS:
        names = [name for name in folders if exact[name] == split]
        if len(names) > 1:
            raise DataError(
                f"data.videos: {root}: {' and '.join(names)} both stand for {split}; "
                "put their class folders into one of them"
            )
    if "train" not in exact.values():
        raise DataError(
            f"data.videos: {root} is split into {', '.join(folders)}, but there is no train folder"
        )
    return exact, []


def check_below_classes(root: Path, below: Mapping[str, Sequence[str]]) -> list[str]:
    """Look for a split below the classes (run/train/, run/test/), which would not be kept.

    Args:
        below: for each class folder, as a path from ``root``, the folders at any depth below it.

    Returns:
        Warnings, of class folders with a single folder that is called like a split.

    Raises:
        DataError: a class folder holds folders of several splits.
    """
    warnings = []
    for folder, names in below.items():
        meant = {name: split for name in names if (split := split_meant(name))}
        if len(set(meant.values())) > 1:
            first = next(iter(meant))
            cure = (
                f"set data.videos: {root / folder}"
                if len(below) == 1
                else f"move the split up ({first}/{folder} in place of {folder}/{first})"
            )
            raise DataError(
                f"data.videos: {root / folder} holds {', '.join(meant)}: a split below the classes "
                f"is not kept; {cure}, or give these folders other names"
            )
        if meant:
            warnings.append(
                f"WARNING: the split of {folder}/{next(iter(meant))} is not kept; "
                "only folders above the classes fix a split"
            )
    return warnings[:1]
