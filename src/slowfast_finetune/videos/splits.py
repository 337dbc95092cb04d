"""Pure: which split each video goes to. What belongs together is never torn apart."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slowfast_finetune.errors import DataError
from slowfast_finetune.videos.discovery import SPLITS, Split


@dataclass(frozen=True)
class Item:
    """One video as the split sees it: ``key`` is unique; ``ties`` join it to others."""

    key: str
    class_name: str
    ties: tuple[str, ...]
    given_split: Split | None = None


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
    units = _units(items)
    assigned: dict[str, Split] = {}
    free: list[list[Item]] = []
    for unit in units:
        given = {item.given_split for item in unit} - {None}
        if len(given) > 1:
            names = ", ".join(item.key for item in unit[:3])
            raise DataError(f"{names}: belong together but lie in {_join(given)}; move them")
        for split in given:
            assert split is not None
            assigned.update((item.key, split) for item in unit)
        if not given:
            free.append(unit)
    _deal(free, fractions=fractions, seed=seed, assigned=assigned)
    _check_every_class_everywhere(items, assigned, fractions, units)
    return assigned


def _join(values: set[Split | None]) -> str:
    return " and ".join(sorted(str(value) for value in values))


def _units(items: Sequence[Item]) -> list[list[Item]]:
    """Connected components of items over shared ties, each sorted by key."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for item in items:
        for tie in item.ties:
            parent[root(f"tie {tie}")] = root(f"key {item.key}")
    units: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: item.key):
        units[root(f"key {item.key}")].append(item)
    return list(units.values())


def _deal(
    units: list[list[Item]],
    *,
    fractions: Mapping[Split, float],
    seed: int,
    assigned: dict[str, Split],
) -> None:
    """Deal units to splits in place, the hardest to place first, equals in seeded order."""
    totals = Counter(item.class_name for unit in units for item in unit)
    lacking = {
        (split, class_name): fractions[split] * count
        for split in SPLITS
        for class_name, count in totals.items()
    }
    # Small splits get at least one video of every class, so that none is measured on nothing.
    for (split, class_name), target in lacking.items():
        if 0 < target < 1:
            lacking[split, class_name] = 1.0

    def hardest_first(unit: list[Item]) -> tuple[float, bytes]:
        return -_largest_share(unit, totals), _shuffle_key(unit, seed)

    for unit in sorted(units, key=hardest_first):
        counts = Counter(item.class_name for item in unit)
        split = max(
            (split for split in SPLITS if fractions[split] > 0),
            key=lambda split: _claim(split, counts, lacking, totals, fractions),
        )
        for class_name, count in counts.items():
            lacking[split, class_name] -= count
        assigned.update((item.key, split) for item in unit)


def _largest_share(unit: list[Item], totals: Counter[str]) -> float:
    counts = Counter(item.class_name for item in unit)
    return max(count / totals[class_name] for class_name, count in counts.items())


def _shuffle_key(unit: list[Item], seed: int) -> bytes:
    return hashlib.blake2b(f"{seed} {unit[0].key}".encode(), digest_size=8).digest()


def _claim(
    split: Split,
    counts: Counter[str],
    lacking: Mapping[tuple[Split, str], float],
    totals: Counter[str],
    fractions: Mapping[Split, float],
) -> float:
    """How much a split needs a unit: the lack of its classes, each class weighing the same."""
    return sum(
        count
        / totals[class_name]
        * lacking[split, class_name]
        / max(fractions[split] * totals[class_name], 1.0)
        for class_name, count in counts.items()
    )


def _check_every_class_everywhere(
    items: Sequence[Item],
    assigned: Mapping[str, Split],
    fractions: Mapping[Split, float],
    units: list[list[Item]],
) -> None:
    present = {(assigned[item.key], item.class_name) for item in items}
    given = {item.given_split for item in items} - {None}
    wanted = [split for split in SPLITS if fractions[split] > 0 or split in given]
    for class_name in sorted({item.class_name for item in items}):
        lacking = [split for split in wanted if (split, class_name) not in present]
        if lacking:
            raise DataError(_too_small(class_name, lacking, items, units))


def _too_small(
    class_name: str, lacking: list[Split], items: Sequence[Item], units: list[list[Item]]
) -> str:
    num_videos = sum(item.class_name == class_name for item in items)
    num_units = sum(any(item.class_name == class_name for item in unit) for unit in units)
    videos = "video" if num_videos == 1 else "videos"
    return (
        f"class {class_name!r} has {num_videos} {videos} in {num_units} independent groups, and "
        f"none is left for {' and '.join(lacking)}; add videos (at least one group for each of "
        "train, val and test), or remove the class"
    )
