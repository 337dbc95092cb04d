"""Pure: which split each video goes to. What belongs together is never torn apart."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slowfast_finetune.errors import DataError
from slowfast_finetune.videos.discovery import SPLITS, Split

Need = tuple[Split, str]  # a split, and a class that it lacks
MAX_SEARCH_STEPS = 20_000  # of the search for a split; 137 was the most in 1,200 random cases


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
    check_given_splits(items)
    assigned: dict[str, Split] = {}
    free: list[list[Item]] = []
    for unit in units:
        given = next((item.given_split for item in unit if item.given_split), None)
        if given is None:
            free.append(unit)
        else:
            assigned.update((item.key, given) for item in unit)
    dealt = assigned | _deal(free, fractions=fractions, seed=seed, placed={})
    lacking = _lacking(items, dealt, fractions)
    if lacking:
        # Groups that span classes can paint greedy dealing into a corner: place those first
        # that no other can replace, then deal the rest.
        needed = _lacking(items, assigned, fractions)
        placed = _cover(free, needed)
        if placed is None:
            raise DataError(_too_small(lacking, items, units))
        dealt = assigned | _deal(free, fractions=fractions, seed=seed, placed=placed)
    return dealt


def check_given_splits(items: Sequence[Item]) -> None:
    """Refuse items that belong together but are given to different splits.

    Raises:
        DataError: naming them.
    """
    for unit in _units(items):
        given = {item.given_split for item in unit if item.given_split}
        if len(given) > 1:
            examples = {item.given_split: item.key for item in unit if item.given_split}
            names = ", ".join(examples[split] for split in SPLITS if split in examples)
            raise DataError(f"{names}: belong together but lie in {_join(given)}; move them")


def _join(values: set[Split]) -> str:
    return " and ".join(split for split in SPLITS if split in values)


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
    placed: Mapping[str, Split],
) -> dict[str, Split]:
    """Deal units to splits, the hardest to place first, equals in seeded order.

    Units whose items are in ``placed`` go where that says, before all others.
    """
    totals = Counter(item.class_name for unit in units for item in unit)
    # Small splits get at least one video of every class, so that none is measured on nothing.
    lacking = {
        (split, class_name): max(fractions[split] * count, 1.0) if fractions[split] > 0 else 0.0
        for split in SPLITS
        for class_name, count in totals.items()
    }

    def hardest_first(unit: list[Item]) -> tuple[bool, float, bytes]:
        return unit[0].key not in placed, -_largest_share(unit, totals), _shuffle_key(unit, seed)

    dealt: dict[str, Split] = {}
    for unit in sorted(units, key=hardest_first):
        counts = Counter(item.class_name for item in unit)
        by_claim = sorted(
            (split for split in SPLITS if fractions[split] > 0),
            key=lambda split: -_claim(split, counts, lacking, totals, fractions),
        )
        split = placed.get(unit[0].key, by_claim[0])
        for class_name, count in counts.items():
            lacking[split, class_name] -= count
        dealt.update((item.key, split) for item in unit)
    return dealt


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


def _lacking(
    items: Sequence[Item], assigned: Mapping[str, Split], fractions: Mapping[Split, float]
) -> list[Need]:
    """Which class is missing from which split."""
    present = {(assigned[item.key], item.class_name) for item in items if item.key in assigned}
    given = {item.given_split for item in items}
    wanted = [split for split in SPLITS if fractions[split] > 0 or split in given]
    class_names = sorted({item.class_name for item in items})
    needs = [(split, class_name) for class_name in class_names for split in wanted]
    return [need for need in needs if need not in present]


def _cover(units: list[list[Item]], needs: Sequence[Need]) -> dict[str, Split] | None:
    """Place as few units as it takes to bring every class into every split that lacks it.

    A search that goes back where it gets stuck: the need that fewest units can meet comes first,
    and the units that meet most needs at once. None if there is no way, or none was found.
    """
    classes_of = [{item.class_name for item in unit} for unit in units]
    chosen: dict[int, Split] = {}
    steps = 0

    def candidates(need: Need) -> list[int]:
        return [
            unit
            for unit, classes in enumerate(classes_of)
            if unit not in chosen and need[1] in classes
        ]

    def search(open_needs: frozenset[Need]) -> bool:
        nonlocal steps
        steps += 1
        if not open_needs:
            return True
        if steps > MAX_SEARCH_STEPS:
            return False
        split, class_name = min(sorted(open_needs), key=lambda need: len(candidates(need)))

        def met_by(unit: int) -> frozenset[Need]:
            return frozenset((split, name) for name in classes_of[unit])

        best_first = sorted(
            candidates((split, class_name)),
            key=lambda unit: (-len(met_by(unit) & open_needs), len(units[unit])),
        )
        for unit in best_first:
            chosen[unit] = split
            if search(open_needs - met_by(unit)):
                return True
            del chosen[unit]
        return False

    if not search(frozenset(needs)):
        return None
    return {item.key: split for unit, split in chosen.items() for item in units[unit]}


def _too_small(lacking: Sequence[Need], items: Sequence[Item], units: list[list[Item]]) -> str:
    class_name = lacking[0][1]
    splits = [split for split, name in lacking if name == class_name]
    num_videos = sum(item.class_name == class_name for item in items)
    num_units = sum(any(item.class_name == class_name for item in unit) for unit in units)
    videos = "video" if num_videos == 1 else "videos"
    grouped = "" if num_units == num_videos else f" that belong to {num_units} separate groups"
    return (
        f"class {class_name!r} has {num_videos} {videos}{grouped}: none is left for "
        f"{' and '.join(splits)}; add videos (train, val and test each need one of every class, "
        "and groups and copies stay together), or remove the class"
    )
