"""Which split each found video goes to; corrected labels leave the splits as they were."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slowfast_finetune.base.console import count
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.hash_memo import HashMemo, hash_files
from slowfast_finetune.base.manifest_table import SPLITS, Split
from slowfast_finetune.base.params import DataParams
from slowfast_finetune.indexing.discovery import FoundVideo
from slowfast_finetune.indexing.groups import find_groups
from slowfast_finetune.indexing.splits import Item, assign_fold, assign_splits, check_given_splits


@dataclass(frozen=True)
class JoinedVideos:
    """Videos and parts of some, and what keeps those that belong together in one split."""

    videos: Sequence[FoundVideo]
    hashes: Sequence[str]  # of the content of each
    groups: Mapping[str, str]  # by name; a video may be in none
    ties: Sequence[tuple[str, ...]]  # of each; videos that share one belong together


def find_ties(
    videos: Sequence[FoundVideo], *, root: Path, params: DataParams, memo: HashMemo | None
) -> tuple[JoinedVideos, list[str]]:
    """Hash and group videos; gives what to tell about the groups as well.

    Raises:
        DataError: a video cannot be read; or as :func:`find_groups`.
    """
    hashes = hash_files([video.path for video in videos], memo=memo)
    groups, notes = find_groups(videos, root=root, pattern=params.group_pattern)
    ties = [
        _ties(video, content_hash, groups.get(video.name))
        for video, content_hash in zip(videos, hashes, strict=True)
    ]
    return JoinedVideos(videos, hashes, groups, ties), notes


def _ties(video: FoundVideo, content_hash: str, group: str | None) -> tuple[str, ...]:
    ties = () if group is None else (f"group {group}",)
    if video.start is not None:
        ties = (*ties, f"video {video.name}")
    # Empty files are all alike without being the same video; the cache stage refuses them.
    return (*ties, f"content {content_hash}") if video.path.stat().st_size else ties


def choose_splits(
    joined: JoinedVideos, before: JoinedVideos | None, *, params: DataParams
) -> tuple[Sequence[Split | None], list[str]]:
    """The split of each video or part, and what to tell about it.

    Args:
        before: the videos as they were before corrections and decisions, if there are any. They
            keep the splits that they then had; videos that are left out have None, see
            :func:`_kept_splits`.

    Raises:
        DataError: no split is possible, see :func:`assign_splits`.
    """
    if before is None:
        return _deal(joined, params)
    try:
        old, notes = _deal(before, params)
    except DataError as error:  # of what corrections leave out, a class of one video, say
        splits, notes = _deal(joined, params)
        return splits, [f"the split is not that of the folders alone, which fail: {error}", *notes]
    kept = _kept_splits(joined, _known_splits(before, old))
    if lacking := _lacking_class(joined.videos, kept, old):
        splits, notes = _deal(joined, params)
        return splits, [f"WARNING: {lacking}; the split is dealt anew", *notes]
    out = [video.name for video, split in zip(joined.videos, kept, strict=True) if not split]
    if out := [*dict.fromkeys(out)]:
        notes.append(
            f"WARNING: {len(out)} newly labelled videos are left out, which are copies of "
            f"val or test videos or in one group with some, e.g. {out[0]!r}: a model that "
            "had learned from them would be measured on what it knows"
        )
    return kept, notes


def _deal(joined: JoinedVideos, params: DataParams) -> tuple[list[Split], list[str]]:
    """Split of each video or part, and what to tell about duplicates and given splits."""
    given = {video.name: video.given_split for video in joined.videos}
    notes = _honour_duplicates(joined, given)
    items = _items(joined, given)
    check_given_splits(items)
    present = [split for split in SPLITS if split in given.values()]
    if params.fold is not None:
        if present:
            raise DataError(
                f"data.fold: {params.fold} would choose the test videos, but the folders "
                f"or labels for {', '.join(present)} do already; set data.fold: null, "
                "or put the class folders of all into one folder"
            )
        notes.append(f"fold {params.fold} of {params.num_folds} (from 0) is the test split")
        splits = assign_fold(
            items,
            fold=params.fold,
            num_folds=params.num_folds,
            val_fraction=params.val_fraction,
            seed=params.split_seed,
        )
        return [splits[item.key] for item in items], notes
    val, test = params.val_fraction, params.test_fraction
    if present:
        missing = [split for split in SPLITS if split not in present]
        taken = f"; {' and '.join(missing)} taken from train" if missing else ""
        notes.append(f"folders or labels fix the split: {', '.join(present)}{taken}")
        val, test = (val if "val" in missing else 0.0), (test if "test" in missing else 0.0)
        if missing:
            # What is missing is taken from train: its videos are free again.
            items = [
                replace(item, given_split=None) if item.given_split == "train" else item
                for item in items
            ]
    fractions: dict[Split, float] = {"train": 1 - val - test, "val": val, "test": test}
    splits = assign_splits(items, fractions=fractions, seed=params.split_seed)
    for split in present[1:]:
        names = {
            item.class_name
            for item in items
            if splits[item.key] == split and item.given_split != split
        }
        if names:
            classes = ", ".join(repr(name) for name in sorted(names))
            notes.append(f"WARNING: the given {split} split lacks {classes}; taken from train")
    return [splits[item.key] for item in items], notes


def _items(joined: JoinedVideos, given: Mapping[str, Split | None]) -> list[Item]:
    """What is dealt; ``given`` are the splits that names have."""
    # Numbered, not named by their times: the split does not change when a boundary is moved.
    seen: Counter[str] = Counter()
    items = []
    for video, ties in zip(joined.videos, joined.ties, strict=True):
        number = seen[video.name]
        key = f"{video.name}#{number}" if number else video.name
        seen[video.name] += 1
        items.append(Item(key, video.class_name, ties, given[video.name], video.given_split))
    return items


def _known_splits(joined: JoinedVideos, splits: Sequence[Split]) -> dict[str, Split]:
    """The split of each video, by its name and by what joins others to it."""
    known: dict[str, Split] = {}
    for video, ties, split in zip(joined.videos, joined.ties, splits, strict=True):
        known |= dict.fromkeys((f"video {video.name}", *ties), split)
    return known


def _kept_splits(joined: JoinedVideos, known: Mapping[str, Split]) -> list[Split | None]:
    """The split that each video had before decisions, so that runs before and after compare.

    A video that had no label joins train: it was chosen because a model was unsure of it, and
    would make the test videos no fair sample. A split that the table gives it counts unless it
    belongs to a train video. If it belongs to a val or test video, it is left out: None.
    """
    held_out = {tie for tie, split in known.items() if split != "train"}
    new = {
        video.name: {*ties}
        for video, ties in zip(joined.videos, joined.ties, strict=True)
        if f"video {video.name}" not in known
    }
    reached = held_out
    while reached:  # they may belong to one by way of each other
        reached = {
            tie
            for ties in new.values()
            if ties & held_out
            for tie in ties - known.keys() - held_out
        }
        held_out |= reached

    def split_of(video: FoundVideo) -> Split | None:
        if video.name not in new:
            return known[f"video {video.name}"]
        if new[video.name] & held_out:
            return None
        return "train" if new[video.name] & known.keys() else video.given_split or "train"

    return [split_of(video) for video in joined.videos]


def _lacking_class(
    videos: Sequence[FoundVideo], splits: Sequence[Split | None], before: Sequence[Split]
) -> str:
    """Say which class has no video in a split; empty if none is missing anywhere."""
    present = {(video.class_name, split) for video, split in zip(videos, splits, strict=True)}
    for name in sorted({name for name, split in present if split}):
        for split in SPLITS:
            if split in before and (name, split) not in present:
                return f"decisions leave class {name!r} without a {split} video"
    return ""


def _honour_duplicates(joined: JoinedVideos, given: dict[str, Split | None]) -> list[str]:
    """Move copies of a video that lie in several given splits to the one nearest the test.

    Changes ``given`` in place; returns a note for copies within, across classes and splits.
    """
    copies: dict[str, dict[str, FoundVideo]] = defaultdict(dict)
    for video, content_hash in zip(joined.videos, joined.hashes, strict=True):
        if video.path.stat().st_size:
            copies[content_hash].setdefault(video.name, video)
    notes = []
    sets = [[*same.values()] for same in copies.values() if len(same) > 1]
    if sets:
        example = " = ".join(repr(video.name) for video in sets[0][:3])
        of = count(len(sets), "set")
        notes.append(f"{of} of copies of one video, each kept in one split: {example}")
    crossing: set[str] = set()
    for same in sets:
        splits = {given[video.name] for video in same}
        if len(splits) > 1:
            crossing |= {str(split) for split in splits}
            strongest = max(splits, key=lambda split: SPLITS.index(split) if split else -1)
            given.update((video.name, strongest) for video in same)
        if len(classes := sorted({v.class_name for v in same if v.start is None})) > 1:
            names = " and ".join(repr(video.name) for video in same[:3])
            notes.append(f"WARNING: {names} are the same video in classes {', '.join(classes)}")
    if crossing:
        notes.append(
            "WARNING: the same video lies in several of your split folders "
            f"({', '.join(sorted(crossing))}); all its copies now count for the later one"
        )
    return notes
