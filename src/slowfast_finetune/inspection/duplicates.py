"""Find exact and near duplicates of videos. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from slowfast_finetune.inspection.findings import Finding, make_finding
from slowfast_finetune.inspection.video_summary import Frames, VideoSummary
from slowfast_finetune.scoring.metrics import Floats

# Chosen on the two collections of docs/doctor.md, "Near copies".
MAX_BITS = 4.0  # mean Hamming distance of the frames' 64-bit perceptual hashes
FEW_BITS = 2.0  # up to this distance the moving parts need not be as much alike
MIN_LIKENESS, MIN_LIKENESS_WITH_FEW_BITS = 0.85, 0.5  # correlation of the moving parts
MOTION_SEEN = 60.0  # L2 norm of the thumbnails' moving parts; below it, they are noise
MAX_LEVELS = 4.0  # mean grey-level difference of thumbnails without motion
FLAT = 4.0  # standard deviation of frames without content, such as black ones [grey levels]
CHUNK = 200  # videos compared with as many others at once, to bound the memory

Indices = npt.NDArray[np.int64]
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
    if len(kept) < 2:
        return []
    hashes = np.stack([videos[index].hashes for index in kept])
    contents = np.unique([videos[index].content_hash for index in kept], return_inverse=True)[1]
    pictures = [videos[index].thumbnails for index in kept]
    set_of = np.arange(len(kept))
    for top, left in combinations_with_replacement(range(0, len(kept), CHUNK), 2):
        # What is in one set already need not be compared: of many copies few pairs are.
        rows, columns, bits = _close_hashes(hashes, set_of, top, left)
        other = contents[rows] != contents[columns]
        rows, columns, bits = rows[other], columns[other], bits[other]
        if len(rows) > 0:
            alike = _move_alike(pictures, rows, columns, bits)
            set_of = _joined(set_of, rows[alike], columns[alike])
    members: dict[int, list[int]] = defaultdict(list)
    for index, number in zip(kept, set_of.tolist(), strict=True):
        members[number].append(index)
    return sorted(found for found in members.values() if len(found) > 1)


def _is_flat(video: VideoSummary) -> bool:
    return float(np.median(video.thumbnails.std(axis=(1, 2)))) < FLAT


def _close_hashes(
    hashes: npt.NDArray[np.uint64], set_of: Indices, top: int, left: int
) -> tuple[Indices, Indices, Floats]:
    """Find pairs i < j of different sets whose hashes differ in few bits; and in how many.

    That is, in at most ``MAX_BITS`` bits per frame on average. The middle frames are compared
    first: if they alone differ in more bits than all frames of a pair may, the pair is excluded.

    Args:
        hashes: of the frames of each video (N, frames).
        top, left: i is one of the CHUNK from ``top``, j one of those from ``left``.
    """
    num_frames = hashes.shape[1]
    limit = int(MAX_BITS * num_frames)
    middle = hashes[:, num_frames // 2]
    above, beside = slice(top, top + CHUNK), slice(left, left + CHUNK)
    differing = np.bitwise_count(middle[above, None] ^ middle[None, beside])
    close = (differing <= limit) & (set_of[above, None] != set_of[None, beside])
    rows, columns = np.nonzero(close)
    rows, columns = rows + top, columns + left
    total = np.bitwise_count(hashes[rows] ^ hashes[columns]).sum(axis=1, dtype=np.int64)
    near = (rows < columns) & (total <= limit)
    return rows[near], columns[near], total[near] / num_frames


def _move_alike(
    pictures: Sequence[Frames], rows: Indices, columns: Indices, bits: Floats
) -> npt.NDArray[np.bool_]:
    """Compare the moving parts too, because all videos of a fixed camera have similar hashes.

    Args:
        pictures: thumbnails of each of the N videos (frames, H, W).
        rows, columns: the pairs.
        bits: in which their hashes differ, a frame.

    Returns:
        Whether each pair is alike, bool (pairs,).
    """
    (one, first), (other, second) = (
        np.unique(side, return_inverse=True) for side in (rows, columns)
    )
    shown = [np.stack([pictures[i] for i in side]).astype(np.float32) for side in (one, other)]
    motions, norms = zip(*(_motion(side) for side in shown), strict=True)
    # All products at once are one matrix product.
    likeness = (motions[0] @ motions[1].T)[first, second]
    needed = np.where(bits <= FEW_BITS, MIN_LIKENESS_WITH_FEW_BITS, MIN_LIKENESS)
    alike: npt.NDArray[np.bool_] = likeness >= needed
    still = np.flatnonzero(np.minimum(norms[0][first], norms[1][second]) < MOTION_SEEN)
    levels = [side - side.mean(axis=(1, 2, 3), keepdims=True) for side in shown]
    for pairs in np.array_split(still, len(still) // CHUNK + 1):
        differences = np.abs(levels[0][first[pairs]] - levels[1][second[pairs]])
        alike[pairs] = differences.mean(axis=(1, 2, 3)) <= MAX_LEVELS
    return alike


def _motion(pictures: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], Floats]:
    """The moving parts of videos as vectors of length 1 (N, D), and their lengths before (N,)."""
    still = np.median(pictures, axis=1, keepdims=True)
    moving = (pictures - still).reshape(len(pictures), -1)
    norms = np.linalg.norm(moving, axis=1)
    return moving / np.maximum(norms, 1e-6)[:, None], norms


def _joined(set_of: Indices, rows: Indices, columns: Indices) -> Indices:
    """The set of each video when those of each pair are one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.ones(len(rows), np.int8), (set_of[rows], set_of[columns])
    graph = coo_array(edges, shape=(len(set_of), len(set_of)))
    found: Indices = connected_components(graph, directed=False)[1][set_of]
    return found
