"""Examine a videos folder: choose and summarise its videos, run the checks, estimate the costs."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.base.hash_memo import MEMO_NAME, HashMemo, hash_files
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow, Split
from slowfast_finetune.base.params import DataParams, Params
from slowfast_finetune.base.store_location import locate, store_root, written_path
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS, RejectedRow
from slowfast_finetune.clips.workers import worker_count
from slowfast_finetune.doctor.costs import cache_bytes, estimate_epoch
from slowfast_finetune.doctor.summarising import summarise_videos
from slowfast_finetune.indexing.discovery import Discovery
from slowfast_finetune.indexing.folder_walk import GROUPS_FILE
from slowfast_finetune.indexing.groups import find_groups
from slowfast_finetune.indexing.manifest import build_manifest, discover, manifest_rows
from slowfast_finetune.inspection.checks import check_videos
from slowfast_finetune.inspection.findings import (
    SEEN_IN_PICTURES,
    Finding,
    Level,
    make_finding,
    worst_first,
)
from slowfast_finetune.inspection.label_errors import predict_by_features
from slowfast_finetune.inspection.video_summary import VideoSummary, middle_indices

MAX_STRIPS = 480  # 16 KB each, less than 10 MB
STRIPS_PER_CLASS = (2, 8)  # minimum, maximum
STRIPS_PER_FINDING = 12
MAX_FAULTS = 5  # of a folder, to be named


@dataclass(frozen=True)
class Diagnosis:
    """The doctor's result; every video is either in ``videos`` or in ``rejected``."""

    source: str  # the examined folder or manifest
    notes: list[str]  # sentences on how it was examined
    findings: list[Finding]  # worst first
    videos: list[VideoSummary]
    rejected: list[RejectedRow]
    classes: list[ClassFacts]
    strips: dict[str, bytes]  # JPEG with frames of a video in a row, by its path
    sheets: dict[str, list[str]]  # paths of the videos on each class's contact sheet
    cache_bytes: int  # size of the videos in the clip store
    epoch_seconds: float | None  # estimated time of an epoch, if known
    epoch_basis: str  # what the estimate is based on

    def has(self, level: Level) -> bool:
        """Tell whether any finding has this level."""
        return any(finding.level == level for finding in self.findings)


@dataclass
class ChosenVideos:
    """The videos to examine, and notes and findings from choosing them."""

    rows: list[ManifestRow]
    source: str
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def examine(folder: str | None, *, params: Params, project: Path) -> Diagnosis:
    """Examine a folder of class folders; without one, data/manifest.csv or ``data.videos``.

    Raises:
        DataError: the folder does not exist, or holds no videos in class folders.
    """
    chosen = choose_videos(folder, params=params, project=project)
    store = ClipStore(store_root(project), params.clip)
    sheets = _choose_sheets(chosen.rows)
    shown = {path for paths in sheets.values() for path in paths}
    summarised = partial(summarise_videos, params=params, store=store, project=project)
    found = summarised(chosen.rows, with_strips=shown, label="examining")
    predicted, clips = None, project / CLIPS.file
    if chosen.source == MANIFEST.file and clips.is_file():
        root = store.folder.parent
        predicted = predict_by_features(found.videos, clips, params=params, root=root)
    checked = check_videos(
        found.videos, params=params, rejected=found.rejected, predicted=predicted
    )
    findings = worst_first([*chosen.findings, *checked])
    wanted = {path for finding in findings for path in pictured(finding)} - found.strips.keys()
    more = summarised(
        [row for row in chosen.rows if row.case in wanted], with_strips=wanted, label="drawing"
    )
    usable = {video.case for video in found.videos}
    epoch_seconds, epoch_basis = estimate_epoch(
        sum(video.split == "train" for video in found.videos),
        params,
        project=project,
        num_cores=worker_count("auto"),
        has_gpu=params.runtime.device != "cpu" and Path("/dev/nvidia0").exists(),
    )
    return Diagnosis(
        source=chosen.source,
        notes=chosen.notes,
        findings=findings,
        videos=found.videos,
        rejected=found.rejected,
        classes=class_facts(found.videos, found.rejected, num_frames=params.clip.num_frames),
        strips=found.strips | more.strips,
        sheets={name: [p for p in paths if p in usable] for name, paths in sheets.items()},
        cache_bytes=cache_bytes(found.videos, params.clip),
        epoch_seconds=epoch_seconds,
        epoch_basis=epoch_basis,
    )


def choose_videos(folder: str | None, *, params: Params, project: Path) -> ChosenVideos:
    """Choose the videos to examine: the manifest's if it is of ``data.videos`` and no folder given.

    A folder that cannot be split is examined without a split, which is then a finding.

    Raises:
        DataError: there are no videos in class folders.
    """
    data = params.data
    notes = []
    manifest = project / "data" / "manifest.csv"
    if folder is None and manifest.is_file():
        rows = MANIFEST.read_rows(manifest)
        if not rows:
            raise DataError(f"{manifest}: lists no videos; run `dvc repro`")
        videos = written_path(locate(data.videos, project=project), project=project)
        if any(Path(row.video_path).is_relative_to(videos) for row in rows):
            return ChosenVideos(rows, MANIFEST.file, _folder_notes(data, project))
        notes.append(
            f"{MANIFEST.file} lists no video of data.videos, {data.videos}, and was not used; "
            "`dvc repro` makes it anew"
        )
    configured = locate(data.videos, project=project).resolve()
    if folder is not None and (project / folder).resolve() != configured:
        data = data.model_copy(update={"videos": folder, "labels": None, "background": None})
        if data.group_pattern is not None and not _matches(data, project):
            notes.append(
                f"data.group_pattern '{data.group_pattern}' matches none of these videos and was "
                "ignored"
            )
            data = data.model_copy(update={"group_pattern": None})
    memo = HashMemo(store_root(project) / MEMO_NAME)
    try:
        built = build_manifest(data, project=project, memo=memo, lenient=True)
    except DataError as error:
        return _unsplit(data, error, notes, project=project, memo=memo)
    return ChosenVideos(built.rows, data.videos, [*notes, *built.notes], _refused(built.faults))


def _folder_notes(data: DataParams, project: Path) -> list[str]:
    """What `index` says of the folder as it is now."""
    try:
        _, found = discover(data, project=project, lenient=True)
    except DataError as error:
        found = Discovery([], faults=[str(error)])
    now = [f"`index` would refuse the folder now: {fault}" for fault in found.faults[:MAX_FAULTS]]
    return [*found.notes, *now]


def _refused(faults: Sequence[str]) -> list[Finding]:
    shown = faults[:MAX_FAULTS]
    return [make_finding("refused", "problem", faults=faults, shown=shown)] if faults else []


def _matches(data: DataParams, project: Path) -> bool:
    root, found = discover(data, project=project, lenient=True)
    has_file = (root / GROUPS_FILE).exists()
    pattern = data.group_pattern or ""
    return has_file or any(re.search(pattern, video.name) for video in found.videos)


def _unsplit(
    data: DataParams, error: DataError, notes: list[str], *, project: Path, memo: HashMemo
) -> ChosenVideos:
    """Choose all videos, with those of no split folder in train."""
    root, found = discover(data, project=project, lenient=True)
    if not found.videos:
        raise DataError(next(iter(found.faults), str(error)))
    hashes = hash_files([video.path for video in found.videos], memo=memo)
    try:
        groups, more = find_groups(found.videos, root=root, pattern=data.group_pattern)
    except DataError:  # it is the error
        groups, more = {}, []
    splits: list[Split] = [video.given_split or "train" for video in found.videos]
    rows = manifest_rows(found.videos, hashes, project=project, splits=splits, groups=groups)
    given = any(video.given_split for video in found.videos)
    finding = make_finding("no-split", "problem", error=error, given=given)
    findings = [*_refused(found.faults), finding]
    return ChosenVideos(rows, data.videos, [*notes, *found.notes, *more], findings)


def _choose_sheets(rows: Sequence[ManifestRow]) -> dict[str, list[str]]:
    """Choose evenly spaced videos of each class for its contact sheet."""
    of_class = grouped(rows, key=lambda row: row.class_name)
    least, most = STRIPS_PER_CLASS
    wanted = min(most, max(least, MAX_STRIPS // len(of_class)))
    return {
        name: [found[i].case for i in middle_indices(len(found), min(wanted, len(found)))]
        for name, found in sorted(of_class.items())
    }


def pictured(finding: Finding) -> tuple[str, ...]:
    """Return the videos of a finding whose frames are shown beside it."""
    is_seen = finding.code.startswith(SEEN_IN_PICTURES)
    return finding.video_paths[:STRIPS_PER_FINDING] if is_seen else ()


@dataclass(frozen=True)
class ClassFacts:
    """Statistics of one class."""

    class_name: str
    num_videos: int  # usable
    num_rejected: int
    splits: tuple[int, int, int]  # usable videos in train, val and test
    seconds: tuple[float, float, float]  # shortest, median and longest duration [s]
    sizes: tuple[str, int]  # the most frequent one, and the number of different ones
    rates: tuple[str, int]  # likewise
    sound: float  # share of videos with a sound track, 0 to 1
    padded: float  # share of videos shorter than a clip, 0 to 1


def class_facts(
    videos: Sequence[VideoSummary], rejected: Sequence[RejectedRow], *, num_frames: int
) -> list[ClassFacts]:
    """Compute the statistics of each class, by name; a clip has ``num_frames``."""
    of_class = grouped(videos, key=lambda video: video.class_name)
    num_rejected = Counter(video.class_name for video in rejected)
    facts = []
    for name in sorted({*of_class, *num_rejected}):
        own = of_class.get(name, [])
        splits = Counter(video.split for video in own)
        seconds = [video.facts.duration_seconds for video in own] or [0.0]
        facts.append(
            ClassFacts(
                class_name=name,
                num_videos=len(own),
                num_rejected=num_rejected[name],
                splits=(splits["train"], splits["val"], splits["test"]),
                seconds=(min(seconds), statistics.median(seconds), max(seconds)),
                sizes=_most_frequent([video.facts.size_text for video in own]),
                rates=_most_frequent([f"{video.facts.source_fps:.4g}" for video in own]),
                sound=sum(video.facts.has_audio for video in own) / max(len(own), 1),
                padded=sum(video.num_sampled < num_frames for video in own) / max(len(own), 1),
            )
        )
    return facts


def _most_frequent(values: Sequence[str]) -> tuple[str, int]:
    counts = Counter(values)
    return (counts.most_common(1)[0][0], len(counts)) if counts else ("–", 0)
