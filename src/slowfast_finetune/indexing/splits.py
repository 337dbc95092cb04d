"""Assign videos to train, val and test; videos that belong together stay together."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.manifest_table import SPLITS, Split

PartT = TypeVar("PartT", Split, int)  # what units are dealt to: splits, or folds by number
MAX_SEARCH_STEPS = 20_000  # of the search for a split; 137 was the most in 1,200 random cases


@dataclass(frozen=True)
class Item:
    """One video as the split sees it: ``key`` is unique; ``ties`` join it to others."""

    key: str
    class_name: str
    ties: tuple[str, ...]
    given_split: Split | None = None
    lies_in: Split | None = None  # the split of its own folder or label; none: ``given_split``


Unit = list[Item]  # items that belong together, sorted by key


def assign_splits(
    items: Sequence[Item], *, fractions: Mapping[Split, float], seed: int
) -> dict[str, Split]:
    """Assign every item to train, val or test: seeded, stratified by class, ties kept together.

    Items that share a tie (a group, identical content) form one unit, and a unit goes to one
    split. Units that hold the largest share of a class are dealt first; each goes where its
    classes lack most of their target, and equal claims fall to the earlier of train, val, test.
    The result depends on keys, ties and seed alone, not on the order of ``items``. Items with a
    given split keep it.

    Args:
        fractions: share of each class per split; those above 0 sum to 1.

    Returns:
        The split of each key.

    Raises:
        DataError: a class would be missing from a split that has a share, or a tie joins items
            whose given splits differ.
    """
    check_given_splits(items)
    units = _units(items)
    assigned = {item.key: given for unit in units for item in unit for given in _given(unit)}
    free = [unit for unit in units if unit[0].key not in assigned]
    fractions = {split: fractions[split] for split in SPLITS}
    dealt, lacking = _distribute(items, free, assigned=assigned, fractions=fractions, seed=seed)
    if lacking:
        raise DataError(_too_small(lacking, items, units))
    return dealt


def assign_fold(
    items: Sequence[Item], *, fold: int, num_folds: int, val_fraction: float, seed: int
) -> dict[str, Split]:
    """Test on one of ``num_folds`` folds, and deal the rest to train and val.

    The folds are dealt as :func:`assign_splits` deals splits, to equal shares, and depend on items,
    ``num_folds`` and seed alone: over all folds, every item is in test exactly once.

    Args:
        fold: from 0.
        val_fraction: share of all items, not of the rest.

    Raises:
        DataError: a class does not reach every fold, or not train and val.
    """
    units = _units(items)
    shares = dict.fromkeys(range(num_folds), 1 / num_folds)
    folds, lacking = _distribute(items, units, assigned={}, fractions=shares, seed=seed)
    if lacking:
        raise DataError(
            f"{_class_size(lacking[0][1], items, units)}: too few for {num_folds} folds, each of "
            "which needs one; lower data.num_folds, add videos, or remove the class"
        )
    tested = [
        replace(item, given_split="test" if folds[item.key] == fold else None) for item in items
    ]
    val = val_fraction / (1 - 1 / num_folds)
    return assign_splits(tested, fractions={"train": 1 - val, "val": val, "test": 0.0}, seed=seed)


def _distribute(
    items: Sequence[Item],
    free: list[Unit],
    *,
    assigned: Mapping[str, PartT],
    fractions: Mapping[PartT, float],
    seed: int,
) -> tuple[dict[str, PartT], list[tuple[PartT, str]]]:
    """The part of every item, and which class is missing from which part: none, if it can be."""
    dealt = {**assigned, **_deal(free, fractions=fractions, seed=seed, placed={})}
    lacking = _lacking(items, dealt, fractions)
    if not lacking:
        return dealt, []
    # Where groups span classes, greedy dealing can leave a class out of a part. Then the units that
    # no other can replace are placed first, and the rest is dealt.
    placed = _cover(free, _lacking(items, assigned, fractions))
    if placed is None:
        return dealt, lacking
    return {**assigned, **_deal(free, fractions=fractions, seed=seed, placed=placed)}, []


def check_given_splits(items: Sequence[Item]) -> None:
    """Refuse items that belong together but are given to different splits.

    Raises:
        DataError: naming them.
    """
    for unit in _units(items):
        if len(given := _given(unit)) > 1:
            raise DataError(_why_apart(unit, given))


def _why_apart(unit: Unit, given: Sequence[Split]) -> str:
    """Name one item of each split that is tied to one of another, and the tie, if any two are."""
    lies_in = {item: split for item in unit if (split := item.lies_in or item.given_split)}
    key_in = {split: item.key for item, split in lies_in.items()}
    why = "by way of others"
    first: dict[str, Item] = {}
    pairs = [(first.setdefault(tie, item), item, tie) for item in lies_in for tie in item.ties]
    for one, other, tie in pairs:
        if lies_in[one] != lies_in[other]:
            given = [split for split in SPLITS if split in (lies_in[one], lies_in[other])]
            key_in = {lies_in[one]: one.key, lies_in[other]: other.key}
            why = "as copies of one video" if tie.startswith("content ") else f"by {tie}"
            break
    names = ", ".join(key_in[split] for split in given)
    return f"{names}: belong together, {why}, but lie in {' and '.join(given)}; move them"


def _given(unit: Unit) -> list[Split]:
    """The splits that are given to items of a unit, in the order of SPLITS."""
    return [split for split in SPLITS if any(item.given_split == split for item in unit)]


def _units(items: Sequence[Item]) -> list[Unit]:
    """Connected components of items over shared ties, each sorted by key."""
    # SciPy has this too, but importing it takes about as long as the rest of the stage.
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for item in items:
        for tie in item.ties:
            parent[root(f"tie {tie}")] = root(f"key {item.key}")
    by_key = sorted(items, key=lambda item: item.key)
    return list(grouped(by_key, key=lambda item: root(f"key {item.key}")).values())


def _deal(
    units: list[Unit],
    *,
    fractions: Mapping[PartT, float],
    seed: int,
    placed: Mapping[str, PartT],
) -> dict[str, PartT]:
    """Deal units to the parts, the hardest to place first, equals in seeded order.

    Units whose items are in ``placed`` go where that says, before all others.
    """
    totals = Counter(item.class_name for unit in units for item in unit)
    # Small parts get at least one video of every class, so that none is measured on nothing.
    targets = {
        (part, class_name): max(share * count, 1.0)
        for part, share in fractions.items()
        for class_name, count in totals.items()
    }
    lacking = dict(targets)

    def hardest_first(unit: Unit) -> tuple[bool, float, bytes]:
        counts = Counter(item.class_name for item in unit)
        largest_share = max(count / totals[name] for name, count in counts.items())
        shuffled = hashlib.blake2b(f"{seed} {unit[0].key}".encode(), digest_size=8).digest()
        return unit[0].key not in placed, -largest_share, shuffled

    dealt: dict[str, PartT] = {}
    for unit in sorted(units, key=hardest_first):
        counts = Counter(item.class_name for item in unit)
        # How much a part needs the unit: the lack of its classes, each weighing the same.
        claims = {
            part: sum(
                count / totals[name] * lacking[part, name] / targets[part, name]
                for name, count in counts.items()
            )
            for part, share in fractions.items()
            if share > 0
        }
        part = placed.get(unit[0].key, max(claims, key=claims.__getitem__))
        for name, count in counts.items():
            lacking[part, name] -= count
        dealt.update((item.key, part) for item in unit)
    return dealt


def _lacking(
    items: Sequence[Item], assigned: Mapping[str, PartT], fractions: Mapping[PartT, float]
) -> list[tuple[PartT, str]]:
    """Which class is missing from which part."""
    present = {(assigned[item.key], item.class_name) for item in items if item.key in assigned}
    given = {item.given_split for item in items}
    wanted = [part for part, share in fractions.items() if share > 0 or part in given]
    class_names = sorted({item.class_name for item in items})
    needs = [(part, class_name) for class_name in class_names for part in wanted]
    return [need for need in needs if need not in present]


def _cover(units: list[Unit], needs: Sequence[tuple[PartT, str]]) -> dict[str, PartT] | None:
    """Place as few units as it takes to bring every class into every part that lacks it.

    A backtracking search: the need that fewest units can meet comes first, and for it the units
    that meet most needs at once. None if there is no way, or none was found in time.
    """
    classes_of = [{item.class_name for item in unit} for unit in units]
    chosen: dict[int, PartT] = {}
    steps = 0

    def search(needs: set[tuple[PartT, str]]) -> bool:
        nonlocal steps
        steps += 1
        if not needs or steps > MAX_SEARCH_STEPS:
            return not needs
        free = Counter(
            name
            for unit, classes in enumerate(classes_of)
            if unit not in chosen
            for name in classes
        )
        part, wanted = min(sorted(needs), key=lambda need: free[need[1]])
        met = {
            unit: {(part, name) for name in classes}
            for unit, classes in enumerate(classes_of)
            if unit not in chosen and wanted in classes
        }
        for unit in sorted(met, key=lambda unit: (-len(met[unit] & needs), len(units[unit]))):
            chosen[unit] = part
            if search(needs - met[unit]):
                return True
            del chosen[unit]
        return False

    if not search(set(needs)):
        return None
    return {item.key: part for unit, part in chosen.items() for item in units[unit]}


def _too_small(
    lacking: Sequence[tuple[Split, str]], items: Sequence[Item], units: list[list[Item]]
) -> str:
    class_name = lacking[0][1]
    splits = [split for split, name in lacking if name == class_name]
    if {item.given_split for item in items} & set(splits):
        return (
            f"class {class_name!r} has no video in {' and '.join(splits)}, and folders or labels "
            "fix the split; put some there, or remove the class or that folder, which is then "
            "taken from train"
        )
    return (
        f"{_class_size(class_name, items, units)}: none is left for "
        f"{' and '.join(splits)}; add videos (train, val and test each need one of every class, "
        "and groups and copies stay together), or remove the class"
    )


def _class_size(class_name: str, items: Sequence[Item], units: list[list[Item]]) -> str:
    num_videos = sum(item.class_name == class_name for item in items)
    num_units = sum(any(item.class_name == class_name for item in unit) for unit in units)
    videos = "video" if num_videos == 1 else "videos"
    grouped = ""
    if num_units < num_videos:
        # Videos of a group, copies, or parts of a video.
        units_text = "stay together" if num_units == 1 else f"stay together in {num_units} groups"
        grouped = f" that {units_text}"
    return f"class {class_name!r} has {num_videos} {videos}{grouped}"
