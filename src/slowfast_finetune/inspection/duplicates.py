"""Find exact and near duplicates of videos. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from slowfast_finetune.inspection.findings import Finding, make_finding
from slowfast_finetune.inspection.video_summary import VideoSummary

# Chosen on the two collections of docs/doctor.md, "Near copies".
MAX_BITS = 4.0  # mean Hamming distance of the frames' 64-bit perceptual hashes
MIN_MOTION_LIKENESS = 0.5  # correlation of the moving parts
MOTION_SEEN = 60.0  # L2 norm of the thumbnails' moving parts; below it, they are noise
MAX_LEVELS = 4.0  # mean grey-level difference of thumbnails without motion
FLAT = 4.0  # standard deviation of frames without content, such as black ones [grey levels]
CHUNK = 1_000  # rows compared at once, to bound the memory

DuplicateSets = list[list[int]]  # each inner list holds positions of videos


def duplicate_findings(videos: Sequence[VideoSummary]) -> Iterator[Finding]:
    """Report sets of duplicates; those that cross classes or splits are problems."""
    for code, same, plural, sets in (
        ("copies", "the same", "identical videos", exact_copies(videos)),
        ("near-copies", "nearly the same", "nearly identical videos", near_copies(videos)),
    ):
        members = [[videos[index] for index in indices] for indices in sets]
        across_classes = [s for s in members if len({video.class_name for video in s}) > 1]
        across_splits = [s for s in members if len({video.split for video in s}) > 1]
        within = [s for s in members if s not in across_classes and s not in across_splits]
        for suffix, found in (
            ("-across-classes", across_classes),
            ("-across-splits", across_splits),
            ("", within),
        ):
            if found:
                yield make_finding(
                    code + suffix,
                    "problem" if suffix else "note",
                    [video.case for s in found for video in s],
                    sets=len(found),
                    same=same,
                    plural=plural,
                    classes=sorted({video.class_name for s in found for video in s}),
                    example=" = ".join(video.case for video in found[0][:3]),
                )


def exact_copies(videos: Sequence[VideoSummary]) -> DuplicateSets:
    """Find the sets of videos with identical bytes."""
    # Parts of one video are no copies of each other.
    by_hash: dict[str, dict[str, int]] = defaultdict(dict)
    for index, video in enumerate(videos):
        by_hash[video.content_hash].setdefault(video.video_path, index)
    return [[*same.values()] for same in by_hash.values() if len(same) > 1]


def near_copies(videos: Sequence[VideoSummary]) -> DuplicateSets:
    """Find the sets of videos with different bytes and nearly the same pictures."""
    first_of = {
        (video.content_hash, video.start_seconds): index
        for index, video in reversed(list(enumerate(videos)))
    }
    kept = sorted(index for index in first_of.values() if not _is_flat(videos[index]))
    pairs = [
        (kept[i], kept[j])
        for i, j in _close_hashes([videos[index].hashes for index in kept])
        if videos[kept[i]].content_hash != videos[kept[j]].content_hash
        and _moves_alike(videos[kept[i]], videos[kept[j]])
    ]
    return connected_sets(pairs)


def _is_flat(video: VideoSummary) -> bool:
    return float(np.median(video.thumbnails.std(axis=(1, 2)))) < FLAT


def _close_hashes(hashes: Sequence[npt.NDArray[np.uint64]]) -> list[tuple[int, int]]:
    """Find pairs i < j whose hashes differ in at most ``MAX_BITS`` bits per frame on average.

    The middle frames are compared first: if they alone differ in more bits than all frames of a
    pair may, the pair is excluded.
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
        differing = np.bitwise_count(middle[left, None] ^ middle[None, start:])
        rows, columns = np.nonzero(differing <= limit)
        rows, columns = rows + start, columns + start
        rows, columns = rows[rows < columns], columns[rows < columns]
        total = np.bitwise_count(table[rows] ^ table[columns]).sum(axis=1, dtype=np.int64)
        close = total <= limit
        pairs += list(zip(rows[close].tolist(), columns[close].tolist(), strict=True))
    return pairs


def _moves_alike(one: VideoSummary, other: VideoSummary) -> bool:
    """Compare the moving parts too, because all videos of a fixed camera have similar hashes."""
    motions = [video.thumbnails - np.median(video.thumbnails, axis=0) for video in (one, other)]
    norms = [float(np.linalg.norm(motion)) for motion in motions]
    if min(norms) < MOTION_SEEN:
        pictures = [video.thumbnails - video.thumbnails.mean() for video in (one, other)]
        return float(np.abs(pictures[0] - pictures[1]).mean()) <= MAX_LEVELS
    likeness = float((motions[0] * motions[1]).sum()) / (norms[0] * norms[1])
    return likeness >= MIN_MOTION_LIKENESS


def connected_sets(pairs: Sequence[tuple[int, int]]) -> DuplicateSets:
    """Return the connected components of a graph given by its edges, each sorted."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    nodes, edges = np.unique(np.array(pairs), return_inverse=True)
    edges = edges.reshape(-1, 2)
    weights = np.ones(len(edges), np.int8)
    graph = coo_array((weights, (edges[:, 0], edges[:, 1])), shape=(len(nodes), len(nodes)))
    count_of_sets, set_of = connected_components(graph, directed=False)
    return sorted(nodes[set_of == number].tolist() for number in range(count_of_sets))
