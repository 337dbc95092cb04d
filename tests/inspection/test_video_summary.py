"""What is kept of a video for the checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic
from acted_videos import summary_of
from synthetic import make_params, make_rows, write_entry

from slowfast_finetune.clips.clip_store import ClipStore, EntryError
from slowfast_finetune.inspection.video_summary import middle_indices, summarise_entry

CLIP = make_params().clip  # 8 frames at 15 a second


def test_frames_come_from_the_middles_of_equal_parts() -> None:
    assert middle_indices(5, 5) == [0, 1, 2, 3, 4]
    assert middle_indices(100, 5) == [10, 30, 50, 70, 90]
    assert middle_indices(1, 5) == [0, 0, 0, 0, 0]


def test_the_store_gives_the_same_look_as_the_frames(tmp_path: Path) -> None:
    frames = np.stack([synthetic.numbered_frame(i) for i in range(20)])
    (row,) = make_rows(1, num_frames=20, num_sampled=15, source_fps=25.0, has_audio=True)
    store = ClipStore(tmp_path, CLIP)
    write_entry(store, row, frames)
    video, _ = summarise_entry(row, store)
    # Fifteen frames before padding: the middles of five threes.
    expected = summary_of(frames[[1, 4, 7, 10, 13]], path=row.video_path)
    assert video.thumbnails.tolist() == expected.thumbnails.tolist()
    assert video.hashes.tolist() == expected.hashes.tolist()
    assert video.thumbnails.shape == (5, 24, 24)
    assert (video.num_sampled, video.facts.decoder, video.content_hash) == (
        15,
        "pyav/h264",
        row.content_hash,
    )
    with pytest.raises(EntryError):
        summarise_entry(make_rows(2)[1], store)
