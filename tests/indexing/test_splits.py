"""Splits: seeded, stratified, and nothing that belongs together torn apart."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pytest

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.manifest_table import SPLITS, Split
from slowfast_finetune.indexing.splits import Item, assign_fold, assign_splits

FRACTIONS: dict[Split, float] = {"train": 0.65, "val": 0.15, "test": 0.2}


def singles(class_name: str, count: int) -> list[Item]:
    return [
        Item(f"{class_name}/{i}", class_name, (f"content {class_name} {i}",)) for i in range(count)
    ]


def assign(
    items: Sequence[Item], *, fractions: Mapping[Split, float] = FRACTIONS, seed: int = 0
) -> dict[str, Split]:
    return assign_splits(items, fractions=fractions, seed=seed)


def counts(items: Sequence[Item], assigned: Mapping[str, Split], class_name: str) -> list[int]:
    """Videos of a class in train, val, test."""
    held = Counter(assigned[item.key] for item in items if item.class_name == class_name)
    return [held[split] for split in SPLITS]


@pytest.mark.parametrize(
    ("num_videos", "expected"),
    [
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        # The small splits get one before train gets its second; the rest is train's.
        (5, [3, 1, 1]),
        (6, [4, 1, 1]),
        (20, [13, 3, 4]),
        (60, [39, 9, 12]),
        (100, [65, 15, 20]),
    ],
)
def test_each_class_is_split_by_its_shares(num_videos: int, expected: list[int]) -> None:
    items = [*singles("jump", num_videos), *singles("wave", 40)]
    for seed in range(3):
        assigned = assign(items, seed=seed)
        assert counts(items, assigned, "jump") == expected
        assert counts(items, assigned, "wave") == [26, 6, 8]


@pytest.mark.parametrize("seed", range(30))
def test_laws_of_independent_videos(seed: int) -> None:
    rng = random.Random(seed)
    val, test = rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.3)
    fractions: dict[Split, float] = {"train": 1 - val - test, "val": val, "test": test}
    sizes = {f"class {index}": rng.randrange(3, 60) for index in range(4)}
    items = [item for name, size in sizes.items() for item in singles(name, size)]

    assigned = assign(items, fractions=fractions, seed=seed)

    assert sorted(assigned) == sorted(item.key for item in items)
    for name, size in sizes.items():
        in_train, in_val, in_test = counts(items, assigned, name)
        assert in_train >= 1
        # Less than one video away from the share, and never none.
        assert abs(in_val - max(1, val * size)) < 1
        assert abs(in_test - max(1, test * size)) < 1


def grouped(rng: random.Random, *, num_groups: int) -> list[Item]:
    """Items of three classes in groups that span classes, some also tied by content."""
    return [
        Item(
            f"class {c}/group {g} take {t}",
            f"class {c}",
            (f"group {g}", f"content {rng.randrange(10_000)}"),
        )
        for g in range(num_groups)
        for c in range(3)
        for t in range(rng.randrange(1, 5))
    ]


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_never_torn_apart(seed: int) -> None:
    rng = random.Random(seed)
    items = grouped(rng, num_groups=rng.randrange(4, 30))
    assigned = assign(items, seed=seed)
    assert len(assigned) == len(items)
    for which in (0, 1):
        splits: dict[str, set[Split]] = defaultdict(set)
        for item in items:
            splits[item.ties[which]].add(assigned[item.key])
        assert all(len(found) == 1 for found in splits.values())


def test_ties_reach_over_several_steps() -> None:
    # a and c share nothing, but b is tied to both.
    chain = [Item("x/a", "x", ("1",)), Item("x/b", "x", ("1", "2")), Item("x/c", "x", ("2",))]
    items = [*chain, *singles("x", 12)]
    for seed in range(10):
        assigned = assign(items, seed=seed)
        assert len({assigned[item.key] for item in chain}) == 1


def test_a_tie_and_a_key_of_the_same_name_are_different_things() -> None:
    items = [Item(key, "x", ("a",) if key == "b" else ()) for key in ("a", "b", "c")]
    # Three independent videos: one for each split.
    assert sorted(assign(items).values()) == ["test", "train", "val"]


def test_groups_of_one_size_are_shared_out_fairly() -> None:
    items = [
        Item(f"jump/{group}_{take}", "jump", (f"group {group}",))
        for group in range(20)
        for take in range(4)
    ]
    assert counts(items, assign(items), "jump") == [52, 12, 16]


def test_a_large_group_goes_to_train() -> None:
    large = [Item(f"jump/long_{i}", "jump", ("group long",)) for i in range(12)]
    items = [*large, *singles("jump", 8)]
    for seed in range(5):
        assigned = assign(items, seed=seed)
        assert {assigned[item.key] for item in large} == {"train"}
        # 0.15 · 20 = 3 and 0.2 · 20 = 4.
        assert counts(items, assigned, "jump") == [13, 3, 4]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_items_does_not_matter(seed: int) -> None:
    items = grouped(random.Random(1), num_groups=12)
    shuffled = random.Random(seed).sample(items, len(items))
    assert assign(shuffled, seed=3) == assign(items, seed=3)


def test_the_seed_decides() -> None:
    items = singles("jump", 40)
    assert assign(items, seed=1) == assign(items, seed=1)
    results = {tuple(sorted(assign(items, seed=seed).items())) for seed in range(10)}
    assert len(results) == 10


def test_names_do_not_decide() -> None:
    """Over many seeds every video is tested about as often: no place in the list is favoured."""
    items = singles("jump", 10)
    tested = Counter(
        key
        for seed in range(300)
        for key, split in assign(items, seed=seed).items()
        if split == "test"
    )
    # Two of ten each time: 60 of 300 expected, standard deviation 7.
    assert len(tested) == 10
    assert all(32 <= count <= 88 for count in tested.values())


def test_one_class_does_not_move_another() -> None:
    alone = singles("jump", 20)
    together = [*alone, *singles("wave", 33)]
    assigned = assign(together)
    assert {item.key: assigned[item.key] for item in alone} == assign(alone)


# Given splits


def given(key: str, split: Split | None, *ties: str) -> Item:
    return Item(key, key.split("/")[0], ties, split)


def test_given_splits_are_kept() -> None:
    items = [given(f"x/{split}{i}", split) for split in SPLITS for i in range(3)]
    assert assign(items) == {f"x/{split}{i}": split for split in SPLITS for i in range(3)}


def test_what_is_missing_is_taken_from_the_free_ones() -> None:
    tested = [given(f"x/test{i}", "test") for i in range(4)]
    free = [given(f"x/free{i}", None) for i in range(10)]
    assigned = assign([*tested, *free], fractions={"train": 0.8, "val": 0.2, "test": 0.0})
    assert {assigned[item.key] for item in tested} == {"test"}
    assert Counter(assigned[item.key] for item in free) == {"train": 8, "val": 2}


def test_a_free_video_tied_to_a_given_one_follows_it() -> None:
    items = [
        given("x/given", "test", "group a"),
        given("x/follower", None, "group a"),
        *(given(f"x/{i}", None) for i in range(6)),
    ]
    assigned = assign(items, fractions={"train": 0.8, "val": 0.2, "test": 0.0})
    assert assigned["x/follower"] == "test"


def test_a_group_across_given_splits_is_refused() -> None:
    items = [
        given("x/a", "train", "group 1"),
        given("x/b", "test", "group 1"),
        given("x/c", "val"),
    ]
    with pytest.raises(DataError, match="x/a, x/b: belong together, by group 1, but lie in train"):
        assign(items)
    items[1:] = [given("x/b", None, "group 1", "group 2"), given("x/d", "test", "group 2")]
    with pytest.raises(DataError, match="x/a, x/d: belong together, by way of others, but lie in"):
        assign(items)


# Too little


@pytest.mark.parametrize("num_videos", [1, 2])
def test_a_class_too_small_for_three_splits(num_videos: int) -> None:
    with pytest.raises(DataError, match=rf"class 'rare' has {num_videos} video.* none is left for"):
        assign([*singles("jump", 20), *singles("rare", num_videos)])


def test_a_class_of_one_group_cannot_be_split() -> None:
    rare = [Item(f"rare/{i}", "rare", ("group 7",)) for i in range(30)]
    with pytest.raises(DataError, match="class 'rare' has 30 videos that stay together"):
        assign([*singles("jump", 20), *rare])


def test_a_class_that_a_given_split_lacks() -> None:
    items = [given(f"{c}/{split}", split) for c in "xy" for split in SPLITS]
    without = [item for item in items if item.key != "y/test"]
    with pytest.raises(
        DataError, match=r"class 'y' has no video in test, and folders or labels fix"
    ):
        assign(without)


@pytest.mark.parametrize("seed", range(5))
def test_an_honest_split_is_found_where_there_is_one(seed: int) -> None:
    # Persons 0 and 1 in train, 2 in val, 3 in test would do: each has both classes then.
    shown = {0: "jj", 1: "jw", 2: "jw", 3: "jww"}
    items = [
        Item(f"{letter}/person {person} take {take}", letter, (f"group {person}",))
        for person, letters in shown.items()
        for take, letter in enumerate(letters)
    ]
    assigned = assign(items, seed=seed)
    assert {(assigned[item.key], item.class_name) for item in items} == {
        (split, letter) for split in SPLITS for letter in "jw"
    }


# Folds


def folds(items: Sequence[Item], *, num_folds: int, seed: int = 0) -> list[dict[str, Split]]:
    return [
        assign_fold(items, fold=fold, num_folds=num_folds, val_fraction=0.2, seed=seed)
        for fold in range(num_folds)
    ]


@pytest.mark.parametrize(("num_videos", "num_folds"), [(20, 2), (20, 5), (23, 5), (7, 7)])
def test_every_video_is_tested_in_exactly_one_fold(num_videos: int, num_folds: int) -> None:
    items = [*singles("jump", num_videos), *singles("wave", 40)]
    for seed in range(3):
        found = folds(items, num_folds=num_folds, seed=seed)
        tested = Counter(key for fold in found for key, split in fold.items() if split == "test")
        assert tested == {item.key: 1 for item in items}
        for fold in found:
            in_train, in_val, in_test = counts(items, fold, "jump")
            assert in_train >= 1
            assert in_test in (num_videos // num_folds, -(-num_videos // num_folds))
            assert abs(in_val - max(1, 0.2 * num_videos)) < 1


@pytest.mark.parametrize("seed", range(10))
def test_folds_tear_no_group_apart(seed: int) -> None:
    items = grouped(random.Random(seed), num_groups=15)
    found = folds(items, num_folds=4, seed=seed)
    assert Counter(k for fold in found for k, split in fold.items() if split == "test") == {
        item.key: 1 for item in items
    }
    for fold in found:
        for which in (0, 1):
            splits: dict[str, set[Split]] = defaultdict(set)
            for item in items:
                splits[item.ties[which]].add(fold[item.key])
            assert all(len(of_tie) == 1 for of_tie in splits.values())


def test_folds_of_another_seed_are_others() -> None:
    items = singles("jump", 40)
    assert folds(items, num_folds=4) == folds(items[::-1], num_folds=4)
    assert folds(items, num_folds=4) != folds(items, num_folds=4, seed=1)


def test_a_search_places_groups_that_no_other_can_replace() -> None:
    # Three folds of four people: 0 and 1 show jump alone, 2 jump and wave, 3 and 4 wave alone.
    shown = {0: "jj", 1: "jjj", 2: "jw", 3: "ww", 4: "www"}
    items = [
        Item(f"{letter}/person {person} take {take}", letter, (f"group {person}",))
        for person, letters in shown.items()
        for take, letter in enumerate(letters)
    ]
    with pytest.raises(DataError, match="too few for 4 folds"):
        folds(items, num_folds=4)
    more = [*items, *singles("j", 4), *singles("w", 4)]
    for fold in folds(more, num_folds=3):
        assert {(fold[item.key], item.class_name) for item in more} == {
            (split, letter) for split in SPLITS for letter in "jw"
        }


def test_too_few_groups_for_the_folds() -> None:
    rare = [Item(f"rare/{i}", "rare", (f"group {i % 3}",)) for i in range(12)]
    with pytest.raises(
        DataError,
        match="class 'rare' has 12 videos that stay together in 3 groups: too few for 5 folds",
    ):
        folds([*singles("jump", 20), *rare], num_folds=5)
