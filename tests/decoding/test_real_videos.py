"""Real videos, if there is a folder of them: each ends up where its catalogue says.

The catalogue, ``catalog.csv`` in that folder, has a row per file: ``path, frames_decoded,
rotation``, where ``frames_decoded`` was counted by PyAV and is empty where a file does not open.
"""

from __future__ import annotations

import csv
import itertools
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import synthetic

from slowfast_finetune.clips import workers
from slowfast_finetune.clips.caching import cache_videos
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import ClipRow, RejectedRow
from slowfast_finetune.indexing.discovery import find_videos

VARIABLE = "SLOWFAST_REAL_VIDEOS"
FOLDER = Path(os.environ.get(VARIABLE, ""))

pytestmark = [pytest.mark.extended, pytest.mark.real_videos]

SAMPLE_FPS = 15
MAX_SECONDS = 20

Tables = tuple[ClipStore, dict[str, ClipRow], dict[str, RejectedRow]]


@pytest.fixture(scope="module")
def catalog() -> dict[str, dict[str, str]]:
    with (FOLDER / "catalog.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def cached(catalog: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Tables:
    params = synthetic.make_params(
        clip={"max_seconds": MAX_SECONDS, "short_side": 32},
        runtime={"num_workers": 2},
        cache={"min_decodable_fraction": 0},
    )
    store = ClipStore(tmp_path_factory.mktemp("store"), params.clip)
    clips, rejected = cache_videos(
        synthetic.make_manifest(FOLDER, sorted(catalog)),
        params=params,
        store=store,
        project=FOLDER,
    )
    return (
        store,
        {row.video_path: row for row in clips},
        {row.video_path: row for row in rejected},
    )


def test_every_file_is_found(catalog: dict[str, dict[str, str]]) -> None:
    extensions = {Path(path).suffix.lower() for path in catalog}
    discovery = find_videos(FOLDER, extensions=sorted(extensions))
    assert {video.name for video in discovery.videos} == set(catalog)


def test_every_file_is_accounted_for_once(
    cached: Tables, catalog: dict[str, dict[str, str]]
) -> None:
    _, clips, rejected = cached
    assert set(clips) | set(rejected) == set(catalog)
    assert not set(clips) & set(rejected)
    assert all(row.reason and row.detail for row in rejected.values())


def test_what_decodes_is_decoded_and_nothing_else(
    cached: Tables, catalog: dict[str, dict[str, str]]
) -> None:
    _, clips, _ = cached
    decodable = {path for path, row in catalog.items() if int(row["frames_decoded"] or 0) > 0}
    assert set(clips) == decodable


def test_no_file_breaks_a_worker(cached: Tables) -> None:
    _, _, rejected = cached
    reasons = {row.reason for row in rejected.values()}
    assert reasons <= {"not_a_video", "no_video_stream", "no_frames", "unknown_codec", "too_large"}


def test_faults_in_the_decoder_cost_only_their_videos(
    cached: Tables,
    catalog: dict[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some crash with a segmentation fault, some spin, some eat memory: all others come through."""
    _, sound, refused = cached
    params = synthetic.make_params(
        clip={"max_seconds": MAX_SECONDS, "short_side": 32},
        runtime={"num_workers": 2},
        cache={"min_decodable_fraction": 0, "timeout_seconds": 5, "worker_memory_mb": 512},
    )
    monkeypatch.setattr(workers, "decode_to_store", synthetic.decode_with_faults)
    clips, rejected = cache_videos(
        synthetic.make_manifest(FOLDER, sorted(catalog)),
        params=params,
        store=ClipStore(tmp_path / "store", params.clip),
        project=FOLDER,
    )
    reasons = {"0": "crashed", "1": "timeout", "2": "out_of_memory"}
    everything: list[ClipRow | RejectedRow] = [*sound.values(), *refused.values()]
    hit = {
        row.video_path: reasons[row.content_hash[0]]
        for row in everything
        if row.content_hash[0] in reasons
    }
    assert set(hit.values()) == set(reasons.values()), "each fault strikes somewhere"
    found = {row.video_path: row.reason for row in rejected}
    assert {path: found[path] for path in hit} == hit
    assert {row.video_path for row in clips} == set(sound) - set(hit)
    assert set(found) == set(refused) | set(hit)


def shown_times(path: Path) -> tuple[list[Fraction], Fraction]:
    """Presentation times of a video's frames, and how long the last one lasts at most [s]."""
    times: list[Fraction] = []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = next(
            s
            for s in container.streams.video
            if not s.disposition & av.stream.Disposition.attached_pic
        )
        rate = stream.average_rate or Fraction(30)
        for packet in container.demux(stream):
            try:
                times += [
                    f.pts * f.time_base
                    for f in packet.decode()
                    if f.pts is not None and f.time_base
                ]
            except av.error.FFmpegError:
                continue
    steps = np.diff([float(time) for time in times]) if len(times) > 1 else [0.0]
    return times, Fraction(float(max(1 / rate, max(steps)))).limit_denominator(10**6)


def test_the_number_of_frames_fits_the_times(cached: Tables) -> None:
    _, clips, _ = cached
    checked = 0
    for path, row in clips.items():
        times, last_step = shown_times(FOLDER / path)
        if any(after <= before for before, after in itertools.pairwise(times)):
            continue  # broken stamps: there is nothing to compare with
        begun = float(times[-1] - times[0]) * SAMPLE_FPS
        # All instants up to the last frame's time, and not beyond its end.
        lowest = min(int(begun - 0.01) + 1, SAMPLE_FPS * MAX_SECONDS)
        highest = min(begun + float(last_step) * SAMPLE_FPS + 1, SAMPLE_FPS * MAX_SECONDS)
        assert lowest <= row.num_sampled <= highest, path
        checked += 1
    assert checked >= 0.9 * len(clips)


def test_frames_in_the_store_are_sound(cached: Tables) -> None:
    store, clips, _ = cached
    for row in clips.values():
        info = store.verify(row.content_hash)
        assert info.num_frames >= 8
        assert min(info.height, info.width) == 32


def test_a_quarter_turn_swaps_the_sides(cached: Tables, catalog: dict[str, dict[str, str]]) -> None:
    _, clips, _ = cached
    for path, row in clips.items():
        coded = round(int(catalog[path]["width"]) * row.pixel_aspect), int(catalog[path]["height"])
        turned = int(float(catalog[path]["rotation"] or 0)) % 180 == 90
        upright = coded[::-1] if turned else coded
        assert (row.source_width, row.source_height) == upright, path
        assert (row.width > row.height) == (upright[0] > upright[1]), path
