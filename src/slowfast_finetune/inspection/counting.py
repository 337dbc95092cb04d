"""Check counts: small or missing classes; short, slow, upright or rejected videos. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence

from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.manifest_table import SPLITS, case_name, case_noun
from slowfast_finetune.base.params import ClipParams, Params
from slowfast_finetune.clips.clip_tables import RejectedRow
from slowfast_finetune.indexing.split_folders import SPLIT_FOLDERS
from slowfast_finetune.inspection.findings import Finding, make_finding
from slowfast_finetune.inspection.video_summary import VideoSummary

IMBALANCE = 5.0  # ratio of the largest class to the smallest
# With fewer videos in a class two or three are tested: one more right is 30 to 50 % more recall.
FEW_VIDEOS = 10
MOSTLY = 0.5  # share of a class, or of all videos, from which a note becomes a warning
NOTABLE_UNLABELLED = 0.05  # share of the time of videos that have parts
RATE_TOLERANCE = 0.97  # so that NTSC's 29.97 frames per second count as 30


def count_findings(
    videos: Sequence[VideoSummary],
    *,
    params: Params,
    rejected: Sequence[RejectedRow] = (),
) -> Iterator[Finding]:
    """Run the checks that only count videos or look at one video at a time."""
    counts = Counter(video.class_name for video in videos)
    noun = case_noun(videos)
    if rejected:
        yield _rejected(len(videos), rejected, limit=params.cache.max_rejected_fraction)
    yield from _missing_in_splits(videos, rejected)
    yield from imbalance(counts, noun=noun)
    few = [f"{name} ({number})" for name, number in sorted(counts.items()) if number < FEW_VIDEOS]
    if few:
        yield make_finding("few-videos", "warning", few=few, limit=FEW_VIDEOS, noun=noun)
    odd = [name for name in sorted(counts) if name.lower() in SPLIT_FOLDERS]
    if odd:
        others = [name for name in sorted(counts) if name not in odd]
        yield make_finding("split-folders", "problem", odd=odd, others=others)
    yield from _too_short(videos, params.clip)
    yield from _too_slow(videos, params.clip)
    yield from _unlabelled(videos, background=params.data.background)
    upright = [v.case for v in videos if v.facts.source_height > v.facts.source_width]
    if 0 < len(upright) < len(videos):
        yield make_finding(
            "orientation",
            "note",
            sorted(upright),
            upright=len(upright),
            total=len(videos),
            noun=noun,
        )


def imbalance(counts: Counter[str], *, noun: str, **scores: float | None) -> Iterator[Finding]:
    """Report very unequal numbers of videos, or of parts of some, per class.

    Args:
        scores: ``accuracy`` and ``balanced`` of a model, if there is one.
    """
    sizes = counts.most_common()
    if len(sizes) < 2 or sizes[0][1] < IMBALANCE * sizes[-1][1]:
        return
    (largest, most), (smallest, fewest) = sizes[0], sizes[-1]
    yield make_finding(
        "imbalance",
        "warning",
        largest=largest,
        smallest=smallest,
        most=most,
        fewest=fewest,
        share=most / counts.total(),
        noun=noun,
        **scores,
    )


def _rejected(num_usable: int, rejected: Sequence[RejectedRow], *, limit: float) -> Finding:
    total = num_usable + len(rejected)
    too_many = len(rejected) > limit * total
    return make_finding(
        "unreadable",
        "problem" if too_many else "warning",
        [video.case for video in rejected],
        rejected=rejected,
        total=total,
        reasons=Counter(video.reason for video in rejected).most_common(),
        limit=limit,
        too_many=too_many,
        noun=case_noun(rejected),
    )


def _missing_in_splits(
    videos: Sequence[VideoSummary], rejected: Sequence[RejectedRow]
) -> Iterator[Finding]:
    present = {(str(video.split), video.class_name) for video in videos}
    listed = present | {(video.split, video.class_name) for video in rejected}
    names = sorted({name for _, name in listed})
    for split in SPLITS:
        missing = [name for name in names if (split, name) not in present]
        if missing and any(other == split for other, _ in listed):
            yield make_finding("missing-class", "problem", split=split, missing=missing)


def _too_short(videos: Sequence[VideoSummary], clip: ClipParams) -> Iterator[Finding]:
    short = [video for video in videos if video.num_sampled < clip.num_frames]
    if not short:
        return
    total_of = Counter(video.class_name for video in videos)
    short_of = Counter(video.class_name for video in short)
    worst = max(short_of, key=lambda name: short_of[name] / total_of[name])
    short.sort(key=lambda video: video.num_sampled)
    yield make_finding(
        "padded",
        "warning" if short_of[worst] >= MOSTLY * total_of[worst] else "note",
        [video.case for video in short],
        short=len(short),
        total=len(videos),
        seconds=f"{clip.num_frames / clip.sample_fps:.2g}",
        padding=clip.padding,
        noun=case_noun(videos),
        worst=worst,
        short_in_worst=short_of[worst],
        total_in_worst=total_of[worst],
    )


def _too_slow(videos: Sequence[VideoSummary], clip: ClipParams) -> Iterator[Finding]:
    limit = clip.sample_fps * RATE_TOLERANCE
    slow = [video for video in videos if 0 < video.facts.source_fps < limit]
    if slow:
        slow.sort(key=lambda video: video.facts.source_fps)
        yield make_finding(
            "slow",
            "warning" if len(slow) >= MOSTLY * len(videos) else "note",
            [video.case for video in slow],
            slow=len(slow),
            noun=case_noun(videos),
            sample_fps=f"{clip.sample_fps:g}",
            slowest=f"{slow[0].facts.source_fps:g}",
        )


def _unlabelled(videos: Sequence[VideoSummary], *, background: str | None) -> Iterator[Finding]:
    """Report time before and between the labelled parts of videos; how it ends is not known."""
    ended = (video for video in videos if video.end_seconds is not None)
    parts_of = grouped(ended, key=lambda part: part.video_path)
    gaps, labelled = [], 0.0
    for path, parts in parts_of.items():
        end = 0.0
        for part in sorted(parts, key=lambda part: part.start_seconds or 0):
            start = part.start_seconds or 0.0
            gaps.append((start - end, case_name(path, end, start)))
            end = part.end_seconds or start
            labelled += end - start
    unlabelled = sum(length for length, _ in gaps)
    if unlabelled >= NOTABLE_UNLABELLED * (labelled + unlabelled) > 0:
        seconds, longest = max(gaps)
        yield make_finding(
            "unlabelled",
            "note",
            share=unlabelled / (labelled + unlabelled),
            num_videos=len(parts_of),
            longest=longest,
            seconds=seconds,
            background=background,
        )
