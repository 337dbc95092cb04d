"""The plain dataset: the frames of the clip store, decoded on the fly."""

from __future__ import annotations

import functools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import synthetic
import torch
from synthetic import NTSC, NTSC_FILM, read_numbers, steady, write_video
from torch.utils.data import DataLoader

from slowfast_finetune.base.errors import DataError, VideoError
from slowfast_finetune.decoding.sampled_frames import sampled_frames
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.video_folder import VideoFolderDataset


def frames_of(clip: torch.Tensor) -> npt.NDArray[np.uint8]:
    """A clip (T, C, H, W) in [0, 1] as frames, uint8 (T, H, W, C)."""
    return (clip * 255).round().byte().permute(0, 2, 3, 1).numpy()


def stored(path: Path, *, short_side: int, sample_fps: float = 15) -> npt.NDArray[np.uint8]:
    """What the clip store would hold, before padding."""
    settings = DecodeSettings(
        sample_fps=sample_fps, short_side=short_side, max_seconds=60, max_megapixels=36
    )
    return np.stack(list(sampled_frames(path, settings=settings)))


def numbers(root: Path, **settings: Any) -> list[int]:
    dataset = VideoFolderDataset(root, **{"short_side": None, **settings})
    return read_numbers(frames_of(dataset[0][0]))


@pytest.mark.parametrize(
    ("num_frames", "fps", "expected"),
    [
        (15, 15, list(range(15))),
        (25, 25, [0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 16, 18, 20, 21, 23]),
        (60, 60, [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56]),
        (30, NTSC, [0, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 29]),
        (24, NTSC_FILM, [0, 1, 3, 4, 6, 8, 9, 11, 12, 14, 15, 17, 19, 20, 22, 23]),
    ],
    ids=["15", "25", "60", "29.97", "23.976"],
)
def test_frames_are_those_of_the_hand_worked_tables(
    tmp_path: Path, num_frames: int, fps: Fraction | int, expected: list[int]
) -> None:
    write_video(tmp_path / "jump/a.mp4", steady(num_frames, fps))
    assert numbers(tmp_path, num_frames=len(expected)) == expected


def test_variable_rate(tmp_path: Path) -> None:
    times = [Fraction(ms, 1000) for ms in (0, 100, 150, 500, 520, 1000)]
    write_video(tmp_path / "jump/a.mp4", times, end_time=Fraction(11, 10))
    expected = [0, 0, 1, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 5, 5]
    assert numbers(tmp_path, num_frames=17) == expected


def test_the_middle_is_taken(tmp_path: Path) -> None:
    write_video(tmp_path / "jump/a.mp4", steady(40, 30))
    # 20 instants; 8 of them from (20 - 8) / 2 = 6 on.
    assert numbers(tmp_path, num_frames=8) == [12, 14, 16, 18, 20, 22, 24, 26]


def test_short_videos_are_padded(tmp_path: Path) -> None:
    write_video(tmp_path / "jump/a.mp4", steady(3, 15))
    assert numbers(tmp_path, num_frames=6) == [0, 1, 2, 2, 2, 2]
    assert numbers(tmp_path, num_frames=6, padding="loop") == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("kind", ["b-frames", "ten", "edit", "turned", "mirrored"])
def test_unscaled_frames_equal_the_stored_ones(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "jump" / "a.mp4"
    start = 10 if kind == "ten" else 0
    times = steady(40, 30, start=start)
    if kind == "edit":
        full = write_video(tmp_path / "full.mp4", times)
        path.parent.mkdir()
        synthetic.hide_first_frames(path, source=full, seconds=Fraction(10, 30))
    else:
        # decord 3.4 cannot read some small widths, such as 48 and 96 px.
        write_video(path, times, width=128, height=64, b_frames=2 if kind == "b-frames" else 0)
    if kind == "turned":
        synthetic.set_display_matrix(path, a=0, b=1, c=-1, d=0)
    if kind == "mirrored":
        synthetic.set_display_matrix(path, a=-1, b=0, c=0, d=1)

    expected = stored(path, short_side=48 if kind == "edit" else 64)
    dataset = VideoFolderDataset(tmp_path, num_frames=len(expected), short_side=None)

    assert np.array_equal(frames_of(dataset[0][0]), expected)


@pytest.mark.parametrize("short_side", [24, 96])
def test_scaled_frames_are_within_a_few_levels(tmp_path: Path, short_side: int) -> None:
    def gradient(number: int) -> synthetic.Frame:
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[:, :, 0] = np.linspace(0, 255, 64)
        frame[:, :, 1] = np.linspace(0, 255, 48)[:, None]
        frame[:, :, 2] = number * 15
        return frame

    path = write_video(tmp_path / "jump/a.mp4", steady(10, 15), picture=gradient, crf=1)
    expected = stored(path, short_side=short_side)
    dataset = VideoFolderDataset(tmp_path, num_frames=10, short_side=short_side)
    given = frames_of(dataset[0][0])
    assert given.shape == expected.shape == (10, short_side, short_side * 64 // 48, 3)
    difference = np.abs(given.astype(int) - expected)
    # Scaled as RGB here and on the way from YUV there: half of the colour's resolution apart.
    assert difference.mean() < 2
    assert np.quantile(difference, 0.99) <= 8


def test_shape_dtype_and_range(tmp_path: Path) -> None:
    white = np.full((48, 64, 3), 255, np.uint8)
    for name, picture in (("black", white * 0), ("white", white)):
        write_video(
            tmp_path / f"{name}/a.mp4",
            steady(10, 15),
            picture=functools.partial(lambda shown, _: shown, picture),
        )
    dataset = VideoFolderDataset(tmp_path, num_frames=4, short_side=24)
    assert len(dataset) == 2
    clips = [dataset[index][0] for index in range(2)]
    for clip in clips:
        assert clip.dtype == torch.float32
        assert clip.shape == (4, 3, 24, 32)
    assert clips[0].max() < 0.02
    assert 0.98 < clips[1].min() <= clips[1].max() <= 1.0


def test_a_centre_crop(tmp_path: Path) -> None:
    write_video(tmp_path / "jump/a.mp4", steady(10, 15))
    whole, _ = VideoFolderDataset(tmp_path, num_frames=4, short_side=None)[0]
    cropped, _ = VideoFolderDataset(tmp_path, num_frames=4, short_side=None, crop_size=32)[0]
    assert torch.equal(cropped, whole[:, :, 8:40, 16:48])


def test_labels_count_the_sorted_classes(class_folders: Path) -> None:
    dataset = VideoFolderDataset(class_folders, num_frames=4, short_side=None)
    assert dataset.class_names == ["clap", "jump", "wave"]
    assert len(dataset) == 18
    assert [dataset[index][1] for index in range(18)] == [0] * 6 + [1] * 6 + [2] * 6
    assert [path.parent.name for path in dataset.videos] == ["clap"] * 6 + ["jump"] * 6 + [
        "wave"
    ] * 6


def test_in_a_data_loader(class_folders: Path) -> None:
    dataset = VideoFolderDataset(class_folders, num_frames=4, short_side=24, crop_size=24)
    clips, labels = next(iter(DataLoader(dataset, batch_size=8)))
    assert clips.shape == (8, 4, 3, 24, 24)
    assert labels.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]


def test_strange_names(tmp_path: Path) -> None:
    source = write_video(tmp_path / "source.mp4", steady(8, 15))
    names = ["with space.mp4", "comma,.mp4", 'quote".mp4', "new\nline.mp4", "ü動画.MP4"]
    (tmp_path / "videos" / "jump").mkdir(parents=True)
    for name in names:
        (tmp_path / "videos" / "jump" / name).write_bytes(source.read_bytes())
    dataset = VideoFolderDataset(tmp_path / "videos", num_frames=8, short_side=None)
    assert len(dataset) == len(names)
    for clip, _ in (dataset[index] for index in range(len(names))):
        assert read_numbers(frames_of(clip)) == list(range(8))


def test_extensions_of_either_case(tmp_path: Path) -> None:
    write_video(tmp_path / "jump/a.mkv", steady(8, 15))
    for extension in (".mkv", ".MKV"):
        assert len(VideoFolderDataset(tmp_path, extensions=[extension])) == 1


@pytest.mark.parametrize("folder", ["gone", "empty", "empty class"])
def test_nothing_usable_is_told_when_made(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty class" / "jump").mkdir(parents=True)
    with pytest.raises(DataError, match=folder):
        VideoFolderDataset(tmp_path / folder)


def write_text(path: Path) -> None:
    path.write_text("I am not a video.")


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("write", [write_text, write_nothing, synthetic.write_sound])
def test_what_cannot_be_decoded_is_named_when_read(tmp_path: Path, write: Any) -> None:
    (tmp_path / "jump").mkdir()
    write(tmp_path / "jump" / "bad.mp4")
    dataset = VideoFolderDataset(tmp_path)
    with pytest.raises(VideoError, match=r"jump/bad\.mp4: ") as caught:
        dataset[0]
    assert caught.value.reason in {"not_a_video", "no_video_stream"}
    assert "\n" not in str(caught.value)


def test_a_video_smaller_than_the_crop(tmp_path: Path) -> None:
    write_video(tmp_path / "jump/a.mp4", steady(4, 15))
    dataset = VideoFolderDataset(tmp_path, short_side=None, crop_size=49)
    with pytest.raises(VideoError, match=r"jump/a\.mp4: frames of 64×48 px; crop_size is 49"):
        dataset[0]


@pytest.mark.parametrize("index", [1, -2, 100])
def test_an_index_out_of_range(tmp_path: Path, index: int) -> None:
    write_video(tmp_path / "jump/a.mp4", steady(4, 15))
    with pytest.raises(IndexError):
        VideoFolderDataset(tmp_path)[index]
