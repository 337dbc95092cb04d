"""The whole examination: which videos, a look at each, what is wrong, what it will cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slowfast_finetune.base.console import progress
from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.manifest_table import MANIFEST, ManifestRow
from slowfast_finetune.base.params import DataParams, Params
from slowfast_finetune.base.store_location import locate, store_root, written_path
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.workers import worker_count
from slowfast_finetune.doctor.costs import EpochGuess, cache_bytes, guess_epoch
from slowfast_finetune.doctor.looking import Seen, look_at_videos
from slowfast_finetune.indexing.groups import GROUPS_FILE
from slowfast_finetune.indexing.hash_memo import HashMemo, hash_files
from slowfast_finetune.indexing.manifest import build_manifest, discover
from slowfast_finetune.inspection.findings import SEEN_IN_PICTURES, Finding, worst_first
from slowfast_finetune.inspection.inspect import inspect
from slowfast_finetune.inspection.looks import Look, Refused

STRIPS_IN_ALL = 480  # at 16 KB each they stay below 10 MB
STRIPS_OF_CLASS = (2, 8)  # at least, at most
STRIPS_OF_FINDING = 12


@dataclass(frozen=True)
class Diagnosis:
    """Everything the doctor found out.

    Attributes:
        source: what was looked at.
        notes: how it was looked at, in sentences.
        findings: worst first.
        looks, refused: every video is in one of them.
        strips: JPEG of the frames side by side, by the path of the video.
        sheets: paths of the videos on the contact sheet of each class.
        cache_bytes: what the clip store will hold of them.
        epoch: a guess of the time of an epoch.
    """

    source: str
    notes: list[str]
    findings: list[Finding]
    looks: list[Look]
    refused: list[Refused]
    strips: dict[str, bytes]
    sheets: dict[str, list[str]]
    cache_bytes: int
    epoch: EpochGuess

    @property
    def has_problems(self) -> bool:
        """Whether anything must be mended before training."""
        return any(finding.level == "problem" for finding in self.findings)


@dataclass
class Videos:
    """The videos to look at, and what is to be told of how they were found."""

    rows: list[ManifestRow]
    source: str
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def examine(folder: str | None, *, params: Params, project: Path) -> Diagnosis:
    """Look at a folder of class folders; without one, at data/manifest.csv or ``data.videos``.

    Raises:
        DataError: there is no such folder, or it holds no videos in class folders.
    """
    videos = choose_videos(folder, params=params, project=project)
    sheets = _choose_sheets(videos.rows)
    store = ClipStore(store_root(project), params.clip)
    shown = frozenset(path for paths in sheets.values() for path in paths)
    looks, refused, strips = _look(videos.rows, shown, params, store, project, label="looking")
    found = inspect(looks, refused=refused, clip=params.clip, cache=params.cache)
    findings = worst_first([*videos.findings, *found])
    strips |= _strips_of_findings(findings, strips, videos.rows, params, store, project)
    usable = {look.video_path for look in looks}
    num_training = sum(look.split == "train" for look in looks)
    return Diagnosis(
        source=videos.source,
        notes=videos.notes,
        findings=findings,
        looks=looks,
        refused=refused,
        strips=strips,
        sheets={name: [p for p in paths if p in usable] for name, paths in sheets.items()},
        cache_bytes=cache_bytes(looks, params.clip),
        epoch=guess_epoch(
            num_training,
            params,
            project=project,
            num_cores=worker_count("auto"),
            has_gpu=params.runtime.device != "cpu" and Path("/dev/nvidia0").exists(),
        ),
    )


def choose_videos(folder: str | None, *, params: Params, project: Path) -> Videos:
    """The rows to look at: of the manifest if there is one and no folder is named.

    A folder that cannot be split honestly is looked at all the same; that is then a finding.

    Raises:
        DataError: there are no videos in class folders.
    """
    manifest = project / "data" / "manifest.csv"
    if folder is None and manifest.is_file():
        rows = MANIFEST.read_rows(manifest)
        if not rows:
            raise DataError(f"{manifest}: lists no videos; run `dvc repro`")
        return Videos(rows, "data/manifest.csv")
    data = params.data
    notes = []
    if folder is not None and _is_other(folder, data.videos, project):
        data = data.model_copy(update={"videos": folder})
        if data.group_pattern is not None and not _matches(data, project):
            notes.append(
                f"data.group_pattern '{data.group_pattern}' fits none of these videos and was "
                "left out"
            )
            data = data.model_copy(update={"group_pattern": None})
    memo = HashMemo(store_root(project) / "hashes.sqlite")
    try:
        built = build_manifest(data, project=project, memo=memo)
    except DataError as error:
        rows = _unsplit(data, project=project, memo=memo)
        finding = Finding(
            "problem",
            "no-split",
            "these videos cannot be split into train, val and test",
            f"{error}. Looked at without a split.",
        )
        return Videos(rows, data.videos, notes, [finding])
    return Videos(built.rows, data.videos, [*notes, *built.notes])


def _is_other(folder: str, videos: str, project: Path) -> bool:
    return (project / folder).resolve() != locate(videos, project=project).resolve()


def _matches(data: DataParams, project: Path) -> bool:
    root, found = discover(data, project=project)
    has_file = (root / GROUPS_FILE).exists()
    pattern = data.group_pattern or ""
    return has_file or any(re.search(pattern, video.name) for video in found.videos)


def _unsplit(data: DataParams, *, project: Path, memo: HashMemo) -> list[ManifestRow]:
    """Rows of all videos, as if all were for training."""
    _, found = discover(data, project=project)
    hashes = hash_files([video.path for video in found.videos], memo=memo)
    return [
        ManifestRow(
            video_path=written_path(video.path, project=project),
            class_name=video.class_name,
            label=found.class_names.index(video.class_name),
            split=video.given_split or "train",
            group=None,
            content_hash=content_hash,
        )
        for video, content_hash in zip(found.videos, hashes, strict=True)
    ]


def _choose_sheets(rows: Sequence[ManifestRow]) -> dict[str, list[str]]:
    """A few videos of each class, evenly from its list: the same ones every time."""
    paths: dict[str, list[str]] = {}
    for row in rows:
        paths.setdefault(row.class_name, []).append(row.video_path)
    least, most = STRIPS_OF_CLASS
    wanted = min(most, max(least, STRIPS_IN_ALL // len(paths)))
    return {
        name: [found[(2 * i + 1) * len(found) // (2 * wanted)] for i in range(wanted)]
        if len(found) > wanted
        else found
        for name, found in sorted(paths.items())
    }


def _look(
    rows: Sequence[ManifestRow],
    with_strips: frozenset[str],
    params: Params,
    store: ClipStore,
    project: Path,
    *,
    label: str,
) -> tuple[list[Look], list[Refused], dict[str, bytes]]:
    looks: list[Look] = []
    refused: list[Refused] = []
    strips: dict[str, bytes] = {}
    results = look_at_videos(
        rows,
        clip=params.clip,
        cache=params.cache,
        store=store,
        project=project,
        num_workers=params.runtime.num_workers,
        with_strips=with_strips,
    )
    for result in progress(results, total=len(rows), label=label):
        if isinstance(result, Seen):
            looks.append(result.look)
            if result.strip is not None:
                strips[result.look.video_path] = result.strip
        else:
            refused.append(result)
    # Workers end in any order; what is found does not depend on it.
    looks.sort(key=lambda look: (look.class_name, look.video_path))
    refused.sort(key=lambda video: (video.class_name, video.video_path))
    return looks, refused, strips


def pictured(finding: Finding) -> tuple[str, ...]:
    """The videos of a finding that are shown beside it."""
    return finding.video_paths[:STRIPS_OF_FINDING] if finding.code in SEEN_IN_PICTURES else ()


def _strips_of_findings(
    findings: Sequence[Finding],
    strips: dict[str, bytes],
    rows: Sequence[ManifestRow],
    params: Params,
    store: ClipStore,
    project: Path,
) -> dict[str, bytes]:
    """Frames of the videos that findings name first, as far as they are not there yet."""
    wanted = {path for finding in findings for path in pictured(finding)}
    missing = [row for row in rows if row.video_path in wanted and row.video_path not in strips]
    paths = frozenset(row.video_path for row in missing)
    return _look(missing, paths, params, store, project, label="drawing")[2]
