"""Pure: videos that are there twice, byte for byte or nearly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slowfast_finetune.inspection.findings import Finding, counted, listed
from slowfast_finetune.inspection.looks import Look

# docs/doctor.md has the measurements these come from.
MAX_BITS = 4.0  # mean over the frames, of the 64 bits of a perceptual hash
MIN_MOTION_LIKENESS = 0.5
MOTION_SEEN = 60.0  # L2 norm of what moves in the thumbnails; below, nothing can be compared
MAX_LEVELS = 4.0  # mean difference of thumbnails in which nothing moves
FLAT = 4.0  # standard deviation of a picture without content, such as black [levels]
CHUNK = 1_000

Copies = list[list[int]]


def duplicate_findings(looks: Sequence[Look]) -> list[Finding]:
    """Sets of copies, graver where they cross classes or splits."""
    exact = exact_copies(looks)
    near = near_copies(looks)
    return [
        *_findings(looks, exact, code="copies", what="the same video", plural="the same videos"),
        *_findings(
            looks,
            near,
            code="near-copies",
            what="nearly the same video",
            plural="nearly the same videos",
        ),
    ]


def exact_copies(looks: Sequence[Look]) -> Copies:
    """Positions of videos with the same bytes, set by set."""
    by_hash: dict[str, list[int]] = defaultdict(list)
    for index, look in enumerate(looks):
        by_hash[look.content_hash].append(index)
    return [same for same in by_hash.values() if len(same) > 1]


def near_copies(looks: Sequence[Look]) -> Copies:
    """Positions of videos with other bytes that show the same, set by set."""
    first_of = {look.content_hash: index for index, look in reversed(list(enumerate(looks)))}
    kept = sorted(index for index in first_of.values() if not _is_flat(looks[index]))
    pairs = [
        (kept[i], kept[j])
        for i, j in _close_hashes([looks[index].hashes for index in kept])
        if _shows_the_same(looks[kept[i]], looks[kept[j]])
    ]
    return joined(pairs)


def _is_flat(look: Look) -> bool:
    return float(np.median(look.thumbnails.std(axis=(1, 2)))) < FLAT


def _close_hashes(hashes: Sequence[npt.NDArray[np.uint64]]) -> list[tuple[int, int]]:
    """Pairs whose hashes differ in at most ``MAX_BITS`` bits a frame, i < j.

    The middle frames are compared first: they cannot differ in more than all frames together.
    """
    if len(hashes) < 2:
        return []
    table = np.stack(hashes)
    num_frames = table.shape[1]
    limit = int(MAX_BITS * num_frames)
    middle = np.ascontiguousarray(table[:, num_frames // 2])
    pairs = []
    for start in range(0, len(table), CHUNK):
        left = slice(start, start + CHUNK)
        rows, columns = np.nonzero(_bits(middle[left, None] ^ middle[None, start:]) <= limit)
        rows, columns = rows + start, columns + start
        rows, columns = rows[rows < columns], columns[rows < columns]
        total = _bits(table[rows] ^ table[columns]).sum(axis=1, dtype=np.int64)
        close = total <= limit
        pairs += list(zip(rows[close].tolist(), columns[close].tolist(), strict=True))
    return pairs


def _bits(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """How many bits are set in each number."""
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(numbers), np.uint8)
    # NumPy before 2.0. Warren, "Hacker's Delight", 2nd edition, 5-1: sums of neighbouring bits.
    ones, twos, fours = (
        np.uint64(value) for value in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F)
    )
    counts = numbers - ((numbers >> np.uint64(1)) & ones)
    counts = (counts & twos) + ((counts >> np.uint64(2)) & twos)
    counts = (counts + (counts >> np.uint64(4))) & fours
    return np.asarray((counts * np.uint64(0x0101010101010101)) >> np.uint64(56), np.uint8)


def _shows_the_same(one: Look, other: Look) -> bool:
    """Whether also what moves is alike: a still camera gives all of its videos the same hashes."""
    motions = [look.thumbnails - np.median(look.thumbnails, axis=0) for look in (one, other)]
    norms = [float(np.linalg.norm(motion)) for motion in motions]
    if min(norms) < MOTION_SEEN:
        pictures = [look.thumbnails - look.thumbnails.mean() for look in (one, other)]
        return float(np.abs(pictures[0] - pictures[1]).mean()) <= MAX_LEVELS
    likeness = float((motions[0] * motions[1]).sum()) / (norms[0] * norms[1])
    return likeness >= MIN_MOTION_LIKENESS


def joined(pairs: Sequence[tuple[int, int]]) -> Copies:
    """Connected components of pairs, each sorted, those of the first members first."""
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in pairs:
        parent[root(one)] = root(other)
    sets: dict[int, list[int]] = defaultdict(list)
    for node in sorted(parent):
        sets[root(node)].append(node)
    return sorted(sets.values())


def _findings(
    looks: Sequence[Look], sets: Copies, *, code: str, what: str, plural: str
) -> list[Finding]:
    crossing_classes = [s for s in sets if len({looks[i].class_name for i in s}) > 1]
    crossing_splits = [s for s in sets if len({looks[i].split for i in s}) > 1]
    inside = [s for s in sets if s not in crossing_classes and s not in crossing_splits]
    findings = []
    if crossing_classes:
        classes = sorted({looks[i].class_name for s in crossing_classes for i in s})
        findings.append(
            Finding(
                "problem",
                f"{code}-across-classes",
                f"{what} is in two classes"
                if len(crossing_classes) == 1
                else f"{plural} are in several classes, {len(crossing_classes):,} times",
                f"{_example(looks, crossing_classes)}; classes {listed(classes, most=6)}. One of "
                "the labels is wrong: remove it there.",
                _paths(looks, crossing_classes),
            )
        )
    if crossing_splits:
        findings.append(
            Finding(
                "problem",
                f"{code}-across-splits",
                f"{counted(len(crossing_splits), 'set')} of {plural} on both sides of the split",
                f"{_example(looks, crossing_splits)}. The test would ask what training showed. "
                "Remove the copies, or join them: same group in groups.csv.",
                _paths(looks, crossing_splits),
            )
        )
    if inside:
        findings.append(
            Finding(
                "note",
                code,
                f"{counted(len(inside), 'set')} of {plural} within one class and split",
                f"{_example(looks, inside)}. They count more than once.",
                _paths(looks, inside),
            )
        )
    return findings


def _example(looks: Sequence[Look], sets: Copies) -> str:
    return " = ".join(looks[index].video_path for index in sets[0][:3])


def _paths(looks: Sequence[Look], sets: Copies) -> tuple[str, ...]:
    return tuple(looks[index].video_path for same in sets for index in same)
