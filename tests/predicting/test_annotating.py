"""The copy of a video with labels: its size, times and sound, and what is drawn."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from synthetic import FASTSTART, set_display_matrix, steady, write_video

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.predicting import annotating
from slowfast_finetune.predicting.annotating import (
    FORMATS,
    Annotator,
    Overlay,
    _CopyJob,
    write_copy,
)
from slowfast_finetune.predicting.prediction import Prediction
from slowfast_finetune.predicting.timeline import Segment

SEGMENTS = (Segment("clap", 0, 1, 0.9), Segment(None, 1, 2, 0.5), Segment("wave", 2, 4, 0.8))


def prediction(path: Path, segments: tuple[Segment, ...] = SEGMENTS) -> Prediction:
    shares = {"clap": 0.7, "wave": 0.3}
    return Prediction(path, "clap", "clap", 0.7, shares, segments, segments[-1].end_seconds)


def write_annotated(made: Prediction, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    write_copy(_CopyJob(made, target, FORMATS[target.suffix]))


def times_and_size(path: Path) -> tuple[list[Fraction], tuple[int, int]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        stamps: list[Fraction] = [
            f.pts * f.time_base for f in frames if f.pts is not None and f.time_base
        ]
        return [stamp - stamps[0] for stamp in stamps], (frames[0].width, frames[0].height)


def grey(number: int, *, width: int = 128, height: int = 96) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


@pytest.mark.parametrize("fps", [5, 25, Fraction(30_000, 1001)])
def test_size_and_times_are_kept(tmp_path: Path, fps: Fraction | int) -> None:
    times = steady(20, fps)
    source = write_video(tmp_path / "a.mp4", times, width=128, height=96, picture=grey)
    write_annotated(prediction(source), tmp_path / "out" / "b.mp4")
    found, size = times_and_size(tmp_path / "out" / "b.mp4")
    assert size == (128, 96)
    assert [float(t) for t in found] == pytest.approx([float(t) for t in times], abs=1 / 90_000)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.mp4"]


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [Fraction(n, 30) for n in (0, 1, 5, 6, 20, 21)]
    source = write_video(tmp_path / "a.mp4", times, width=64, height=48)
    write_annotated(prediction(source), tmp_path / "b.mp4")
    assert times_and_size(tmp_path / "b.mp4")[0] == times


@pytest.mark.parametrize("fps", [5, 25])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_last_frame_is_shown_as_long_as_the_others(
    tmp_path: Path, fps: int, suffix: str
) -> None:
    source = write_video(tmp_path / "a.mp4", steady(10, fps), width=128, height=96, picture=grey)
    write_annotated(prediction(source), tmp_path / f"b.{suffix}")
    with av.open(str(tmp_path / f"b.{suffix}")) as container:
        # In microseconds. Without the packet's duration it would be 9 / fps + 1 / 24 s.
        assert container.duration == pytest.approx(1e6 * 10 / fps, abs=1000)
        assert container.streams.video[0].average_rate == fps


@pytest.mark.parametrize(("width", "height"), [(128, 96), (1280, 720)])
def test_colours_are_bt709_and_say_so(tmp_path: Path, width: int, height: int) -> None:
    """Green (48, 192, 48): by ITU-R BT.709 Y = 0.2126 R + 0.7152 G + 0.0722 B = 150.99.

    In limited range 16 + 219 * 150.99 / 255 = 145.7, Cb = 128 + 224 / 1.8556 * (48 - 150.99) / 255
    = 79.2 and Cr = 128 + 224 / 1.5748 * (48 - 150.99) / 255 = 70.6. By BT.601: 129.8, 86.1, 75.
    """
    green = np.full((height, width, 3), (48, 192, 48), np.uint8)
    source = write_video(
        tmp_path / "a.mkv", steady(3, 15), width=width, height=height, codec="ffv1",
        pixel_format="bgr0", picture=lambda _: green,
    )  # fmt: skip
    write_annotated(prediction(source), tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        frame = next(container.decode(video=0))
    tags = frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range
    assert tags == (1, 1, 1, 1), "ITU-T H.273: BT.709; and limited range"
    picture = frame.to_ndarray()
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    found = [picture[height // 2, width // 2], *chroma[:, height // 4, width // 4]]
    assert [int(value) for value in found] == pytest.approx([145.7, 79.2, 70.6], abs=1.5)


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", steady(4, 15), container_options=FASTSTART)
    set_display_matrix(source, a=0, b=1, c=-1, d=0)
    write_annotated(prediction(source), tmp_path / "b.mp4")
    assert times_and_size(tmp_path / "b.mp4")[1] == (48, 64)


def test_an_odd_size_loses_a_pixel(tmp_path: Path) -> None:
    source = write_video(
        tmp_path / "a.mkv", steady(3, 15), width=65, height=49, codec="ffv1", pixel_format="bgr0"
    )
    write_annotated(prediction(source), tmp_path / "b.mp4")
    assert times_and_size(tmp_path / "b.mp4")[1] == (64, 48)


def write_with_sound(path: Path, seconds: int = 2) -> Path:
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=15)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream("aac", rate=16_000)
        sound.layout = "mono"
        for number in range(15 * seconds):
            frame = av.VideoFrame.from_ndarray(grey(number, width=64, height=48), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for start in range(0, 16_000 * seconds, 1000):
            samples = av.AudioFrame.from_ndarray(
                np.full((1, 1000), 0.1, np.float32), format="fltp", layout="mono"
            )
            samples.sample_rate, samples.pts = 16_000, start
            container.mux(sound.encode(samples))
        container.mux(sound.encode())
    return path


def test_sound_is_kept(tmp_path: Path) -> None:
    source = write_with_sound(tmp_path / "a.mp4")
    write_annotated(prediction(source), tmp_path / "b.mp4")
    lengths = []
    for path in (source, tmp_path / "b.mp4"):
        with av.open(str(path)) as container:
            lengths.append(sum(frame.samples for frame in container.decode(audio=0)))
    assert lengths[1] == pytest.approx(lengths[0], abs=2048)
    assert lengths[1] > 16_000


def test_the_label_changes_with_the_segment_and_the_mark_moves() -> None:
    overlay = Overlay(prediction(Path("a.mp4")), width=128, height=96)
    picture = grey(0)
    moments = {seconds: overlay.on(picture, seconds) for seconds in (0.5, 1.5, 3.0)}
    at_ends = [overlay.on(picture, seconds)[:20] for seconds in (0.99, 1, 99)]
    labels = [moments[seconds][:20] for seconds in (0.5, 1.5, 3.0)]
    assert all(np.array_equal(one, other) for one, other in zip(at_ends, labels, strict=True))
    assert (picture == 100).all(), "the frame itself is left alone"
    bar_height = round(96 / 40) if round(96 / 40) > 4 else 4
    for seconds, drawn in moments.items():
        assert drawn.shape == picture.shape
        here = int(seconds / 4 * 128)
        assert (drawn[-2 * bar_height, here] == 255).all()
        assert (drawn[-2 * bar_height, here + 4] == 100).all()
        assert (drawn[40:80] == 100).all(), "the middle is free"
    bar = moments[0.5][-1]
    # Segments of 1, 1 and 2 of 4 seconds: columns 0-31, 32-63 and 64-127.
    assert (bar[32:64] == 150).all(), '"none of these" is grey'
    assert len({tuple(pixel) for pixel in bar[64:]}) == 1
    assert tuple(bar[2]) != tuple(bar[100])
    assert (moments[0.5][:20] != moments[3.0][:20]).any()


def test_a_name_no_font_can_write_becomes_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    # The font that comes with Pillow has Latin letters only.
    monkeypatch.setattr(annotating, "SYSTEM_FONTS", ())
    annotating.font_for.cache_clear()
    assert annotating.font_for("clap 0.9", 20) is not None
    assert annotating.font_for("跳跃", 20) is None
    segment = Segment("跳跃", 0, 1, 0.9)
    odd = Prediction(Path("a"), "跳跃", "跳跃", 0.9, {"clap": 0.1, "跳跃": 0.9}, (segment,), 1.0)
    assert Overlay(odd, width=64, height=48)._legible(segment) == "class 1"
    annotating.font_for.cache_clear()


@pytest.mark.process
def test_what_cannot_be_read_leaves_the_old_copy(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    (tmp_path / "b.mp4").write_text("old")
    reason = Annotator(tmp_path / "b.mp4", videos=[tmp_path / "a.mp4"]).write(
        prediction(tmp_path / "a.mp4")
    )
    assert reason is not None
    assert reason.startswith("cannot be opened")
    assert (tmp_path / "b.mp4").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


@pytest.mark.process
def test_several_videos_go_into_a_folder_under_names_of_their_own(tmp_path: Path) -> None:
    sources = [write_video(tmp_path / name / "v.mp4", steady(2, 15)) for name in "ab"]
    annotator = Annotator(tmp_path / "out", videos=sources)
    for source in sources:
        assert annotator.write(prediction(source)) is None
    found = sorted((tmp_path / "out").rglob("*.mp4"))
    assert found == [tmp_path / "out" / name / "v_labelled.mp4" for name in "ab"]


@pytest.mark.process
def test_a_video_that_is_looked_at_is_never_written_over(tmp_path: Path) -> None:
    """Nor one of the others, whatever the copies would be called."""
    names = ["b/x.mp4", "b/x.mkv", "b/x_labelled.mp4"]
    sources = [write_video(tmp_path / name, steady(2, 15)) for name in names]
    before = [source.read_bytes() for source in sources]
    annotator = Annotator(tmp_path / "b", videos=sources)
    for source in sources:
        assert annotator.write(prediction(source)) is None
    assert [source.read_bytes() for source in sources] == before
    assert len(list((tmp_path / "b").iterdir())) == 6
    (tmp_path / "link.mp4").symlink_to(sources[0])
    for target in (sources[0], tmp_path / "link.mp4"):
        with pytest.raises(DataError, match="is the video itself"):
            Annotator(target, videos=sources[:1])


@pytest.mark.parametrize(
    ("name", "num_videos", "message"),
    [
        ("folder.mp4", 1, "is a folder"),
        ("copy.avi", 1, r"copies are \.m4v, \.mkv, \.mov, \.mp4"),
        ("copy.mp4", 2, "names a folder"),
        ("file", 1, "names a folder"),
        ("file", 2, "names a folder"),
    ],
)
def test_targets_that_make_no_sense(
    tmp_path: Path, name: str, num_videos: int, message: str
) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=message):
        Annotator(tmp_path / name, videos=[tmp_path / f"{n}.mp4" for n in range(num_videos)])


def test_a_copy_that_is_stopped_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_video(tmp_path / "v.mp4", steady(2, 15))

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(annotating, "run_killable", stop)
    with pytest.raises(KeyboardInterrupt):
        Annotator(tmp_path / "c.mp4", videos=[source]).write(prediction(source))
    assert list(tmp_path.iterdir()) == [source]
