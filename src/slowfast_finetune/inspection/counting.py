"""Pure: what counting shows. Classes too small or missing, videos too short, slow or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from slowfast_finetune.base.manifest_table import SPLITS
from slowfast_finetune.base.params import CacheParams, ClipParams
from slowfast_finetune.indexing.split_folders import SPLIT_FOLDERS
from slowfast_finetune.inspection.findings import Finding, counted, listed, rounded_percent
from slowfast_finetune.inspection.looks import Look, Refused

IMBALANCE = 5.0  # the largest class has so many times the videos of the smallest
FEW_VIDEOS = 10  # of a class; measured on two or three of them, one more is 30 to 50 %
MOSTLY = 0.5
RATE_TOLERANCE = 0.97  # 29.97 is fast enough for 30


def count_findings(
    looks: Sequence[Look],
    *,
    refused: Sequence[Refused] = (),
    clip: ClipParams | None = None,
    cache: CacheParams | None = None,
) -> list[Finding]:
    """Everything that follows from numbers of videos and their facts one by one."""
    return [
        *_refused(looks, refused, cache),
        *_missing_in_splits(looks, refused),
        *_imbalance(looks),
        *_few(looks),
        *_split_folders(looks),
        *([] if clip is None else _too_short(looks, clip)),
        *([] if clip is None else _too_slow(looks, clip)),
        *_orientation(looks),
    ]


def _refused(
    looks: Sequence[Look], refused: Sequence[Refused], cache: CacheParams | None
) -> list[Finding]:
    if not refused:
        return []
    total = len(looks) + len(refused)
    share = len(refused) / total
    reasons = Counter(video.reason for video in refused).most_common()
    is_many = cache is not None and share > cache.max_rejected_fraction
    more = (
        f" That is more than cache.max_rejected_fraction: {cache.max_rejected_fraction:g} allows, "
        "so the pipeline would stop."
        if is_many and cache is not None
        else ""
    )
    return [
        Finding(
            "problem" if is_many else "warning",
            "unreadable",
            f"{len(refused):,} of {counted(total, 'video')} cannot be used "
            f"({rounded_percent(share, decimals=1)})",
            ", ".join(f"{count} {reason}" for reason, count in reasons)
            + f". E.g. {refused[0].video_path}: {refused[0].detail}.{more} "
            "Mend, convert or remove them.",
            tuple(video.video_path for video in refused),
        )
    ]


def _missing_in_splits(looks: Sequence[Look], refused: Sequence[Refused]) -> list[Finding]:
    present = {(look.split, look.class_name) for look in looks}
    splits = {split for split, _ in present} | {video.split for video in refused}
    names = sorted({name for _, name in present} | {video.class_name for video in refused})
    findings = []
    for split in SPLITS:
        missing = [name for name in names if (split, name) not in present]
        if split in splits and missing:
            findings.append(
                Finding(
                    "problem",
                    "missing-class",
                    f"{split} has no usable video of {counted(len(missing), 'class', 'classes')}",
                    f"{listed(missing, most=6)}. Add videos, or change data.split_seed.",
                )
            )
    return findings


def _imbalance(looks: Sequence[Look]) -> list[Finding]:
    counts = Counter(look.class_name for look in looks).most_common()
    if len(counts) < 2 or counts[0][1] < IMBALANCE * counts[-1][1]:
        return []
    (largest, most), (smallest, fewest) = counts[0], counts[-1]
    return [
        Finding(
            "warning",
            "imbalance",
            f"{largest} has {most / fewest:.0f} times the videos of {smallest}",
            f"{most:,} against {fewest:,}. Always naming {largest} would be right for "
            f"{rounded_percent(most / len(looks))} of all videos: judge by balanced "
            "accuracy and macro F1, and "
            "try train.class_balance: sampler (or weights).",
        )
    ]


def _few(looks: Sequence[Look]) -> list[Finding]:
    counts = Counter(look.class_name for look in looks)
    few = sorted(name for name, count in counts.items() if count < FEW_VIDEOS)
    if not few:
        return []
    shown = [f"{name} ({counts[name]})" for name in few]
    return [
        Finding(
            "warning",
            "few-videos",
            f"{counted(len(few), 'class has', 'classes have')} fewer than {FEW_VIDEOS} videos",
            f"{listed(shown, most=6)}. Their scores will rest on one or two test videos.",
        )
    ]


def _split_folders(looks: Sequence[Look]) -> list[Finding]:
    names = sorted({look.class_name for look in looks})
    odd = [name for name in names if name.lower() in SPLIT_FOLDERS]
    if not odd:
        return []
    others = [name for name in names if name not in odd]
    return [
        Finding(
            "problem",
            "split-folders",
            f"{listed(odd)} would be learnt as {'a class' if len(odd) == 1 else 'classes'}",
            "They look like parts of a split, but count as classes because other folders "
            f"({listed(others)}) lie beside them. Put all classes below train, val and test, or "
            "none.",
        )
    ]


def _too_short(looks: Sequence[Look], clip: ClipParams) -> list[Finding]:
    short = [look for look in looks if look.num_sampled < clip.num_frames]
    if not short:
        return []
    seconds = clip.num_frames / clip.sample_fps
    share = len(short) / len(looks)
    classes = Counter(look.class_name for look in looks)
    shares = {
        name: count / classes[name]
        for name, count in Counter(look.class_name for look in short).items()
    }
    worst = max(shares, key=lambda name: shares[name])
    short.sort(key=lambda look: look.num_sampled)
    return [
        Finding(
            "warning" if max(share, shares[worst]) >= MOSTLY else "note",
            "padded",
            f"{rounded_percent(share)} of the videos are shorter than a clip of {seconds:.2g} s",
            f"They are padded ({clip.padding}); most of all {worst}, "
            f"{rounded_percent(shares[worst])}. Where "
            "classes differ in that, the model can learn the padding. Lower clip.num_frames, or "
            "raise clip.sample_fps.",
            tuple(look.video_path for look in short),
        )
    ]


def _too_slow(looks: Sequence[Look], clip: ClipParams) -> list[Finding]:
    slow = [look for look in looks if 0 < look.facts.source_fps < clip.sample_fps * RATE_TOLERANCE]
    if not slow:
        return []
    slow.sort(key=lambda look: look.facts.source_fps)
    return [
        Finding(
            "warning" if len(slow) >= MOSTLY * len(looks) else "note",
            "slow",
            f"{counted(len(slow), 'video has', 'videos have')} fewer frames a second than "
            f"clip.sample_fps: {clip.sample_fps:g}",
            f"Down to {slow[0].facts.source_fps:g}: frames are shown twice there, and motion "
            "stutters. Where classes differ in that, it gives them away.",
            tuple(look.video_path for look in slow),
        )
    ]


def _orientation(looks: Sequence[Look]) -> list[Finding]:
    upright = [look for look in looks if look.facts.source_height > look.facts.source_width]
    if not upright or len(upright) == len(looks):
        return []
    upright.sort(key=lambda look: look.video_path)
    return [
        Finding(
            "note",
            "orientation",
            f"{len(upright):,} of {counted(len(looks), 'video')} are upright, the others wide",
            "A square is cut out of the middle of each: of upright ones it shows less height.",
            tuple(look.video_path for look in upright),
        )
    ]
