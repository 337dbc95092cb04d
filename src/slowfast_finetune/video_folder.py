"""A plain torch dataset over class folders that decodes on the fly with decord, without a cache.

For a notebook or a quick look. It decodes each video anew every time it is asked for one; the
pipeline's clip store gives the same frames hundreds of times faster.
"""

import math
import os
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.params import VIDEO_EXTENSIONS, Padding
from slowfast_finetune.decoding import orientation, sampling
from slowfast_finetune.decoding.opening import open_video, video_stream
from slowfast_finetune.decoding.orientation import Frame as Frames
from slowfast_finetune.decoding.packets import has_leaping_clock
from slowfast_finetune.decoding.sampled_frames import sampled_frames
from slowfast_finetune.decoding.sampling import DecodeSettings
from slowfast_finetune.decoding.video_facts import DecodeReport
from slowfast_finetune.indexing.discovery import find_videos


class VideoFolderDataset(Dataset[tuple[Tensor, int]]):
    """Clips from ``root/<class>/*.mp4``: float32 (T, C, H, W) in [0, 1], RGB, and a label.

    Frames are those shown at ``sample_fps`` instants a second, the middle ``num_frames`` of them;
    shorter videos are padded. Labels count the sorted class names, :attr:`class_names`.

    Args:
        root: folder that holds one folder per class.
        short_side: shorter side after scaling, None for as filmed [px].
        crop_size: side of a square cut from the centre, None for the whole frame [px]. Frames of
            different shapes cannot be batched.

    Raises:
        DataError: when made, if the folder holds no classes or an empty one.
        VideoError: when read, if a video cannot be decoded.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        num_frames: int = 32,
        sample_fps: float = 15.0,
        short_side: int | None = 256,
        crop_size: int | None = None,
        padding: Padding = "repeat_last",
        extensions: Sequence[str] = VIDEO_EXTENSIONS,
    ) -> None:
        discovery = find_videos(
            Path(root), extensions=tuple(suffix.lower() for suffix in extensions)
        )
        self.class_names = discovery.class_names
        self.videos = [video.path for video in discovery.videos]
        self.labels = [self.class_names.index(video.class_name) for video in discovery.videos]
        self._num_frames = num_frames
        self._sample_fps = sampling.exact_rate(sample_fps)
        self._short_side = short_side
        self._crop_size = crop_size
        self._padding = padding

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        frames = self._read(self.videos[index])
        clip = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
        return clip, self.labels[index]

    def _read(self, path: Path) -> Frames:
        """The chosen frames of a video, uint8 (T, H, W, 3)."""
        # decord reads this when it is imported; its default, 10240, hangs on a cut-off file.
        os.environ.setdefault("DECORD_EOF_RETRY_MAX", "1024")
        import decord

        frames = None
        if is_plain(path):
            # What decord refuses, PyAV reads, or says why not.
            with suppress(decord.DECORDError, RuntimeError, OSError):
                frames = self._read_with_decord(decord.VideoReader(str(path), num_threads=1))
        if frames is None:
            frames = self._read_with_pyav(path)
        return frames if self._crop_size is None else _centre(frames, self._crop_size, path)

    def _read_with_decord(self, reader: Any) -> Frames | None:
        """The chosen frames; None where decord has numbered frames otherwise than times."""
        stamps = reader.get_frame_timestamp(range(len(reader))).astype(np.float64)
        # decord keeps times as 32-bit floats; a microsecond is as fine as those are.
        micro = np.rint(stamps * 1e6).astype(int).tolist()
        times = [Fraction(start, 1_000_000) for start, _ in micro]
        if not times or min(times) < 0:
            return None  # the container's edit list hides frames, which decord counts
        end_time = Fraction(max(micro[-1]), 1_000_000)
        sampled = shown_frames(times, end_time=end_time, sample_fps=self._sample_fps)
        frames = reader.get_batch([sampled[index] for index in self._window(len(sampled))])
        array: Frames = frames.asnumpy()
        return array if self._short_side is None else scale(array, short_side=self._short_side)

    def _read_with_pyav(self, path: Path) -> Frames:
        settings = DecodeSettings(
            sample_fps=float(self._sample_fps),
            short_side=self._short_side,
            max_megapixels=math.inf,
        )
        try:
            frames = list(sampled_frames(path, settings=settings))
        except VideoError as error:
            raise VideoError(error.reason, f"{path}: {error.detail}") from error
        return np.stack([frames[index] for index in self._window(len(frames))])

    def _window(self, num_sampled: int) -> list[int]:
        """Which of the sampled frames make the clip: the middle ones, padded if too few."""
        padded = sampling.padded_indices(
            num_sampled, min_frames=self._num_frames, padding=self._padding
        )
        (start,) = sampling.window_starts(len(padded), window=self._num_frames, views=1)
        return padded[start : start + self._num_frames]


def is_plain(path: Path) -> bool:
    """Whether decord shows a video right: upright or turned, in SDR, with square pixels.

    False where it is mirrored, HDR, of pixels that are not square, has several video streams or a
    clock that may leap, or cannot be read.
    """
    import av.error

    try:
        with open_video(path) as container:
            stream = video_stream(container, DecodeReport())
            frame = next(container.decode(stream), None)
            if frame is None or has_leaping_clock(container) or len(container.streams.video) > 1:
                return False
            aspect = orientation.plausible_aspect(orientation.stated_aspect(stream), frame)
            if aspect != 1 or orientation.dynamic_range(frame) != "sdr":
                return False
            matrix = orientation.display_matrix(frame)
    except (VideoError, av.error.FFmpegError, OSError, ValueError):
        return False
    return matrix is None or matrix[0] * matrix[3] - matrix[1] * matrix[2] > 0


def shown_frames(
    frame_times: Sequence[Fraction], *, end_time: Fraction, sample_fps: Fraction
) -> list[int]:
    """Index of the frame shown at each sampled instant, at least of the first one.

    Frame i is shown from its time until the next frame's; the last one until ``end_time``.
    Instants run from the first frame's time in steps of 1/``sample_fps``.

    Args:
        frame_times: presentation times, not decreasing [s].
        end_time: when the last frame disappears [s].
    """
    start = frame_times[0]
    num_instants = max(1, sampling.instants_before(end_time - start, sample_fps=sample_fps))
    instants = (start + number / sample_fps for number in range(num_instants))
    return [bisect_right(frame_times, time + sampling.TOLERANCE_SECONDS) - 1 for time in instants]


def scale(frames: Frames, *, short_side: int) -> Frames:
    """Scale frames (F, H, W, 3) as the clip store does, with FFmpeg's bilinear filter."""
    import av
    from av.video.reformatter import Interpolation, VideoReformatter

    height, width = frames.shape[1:3]
    new_width, new_height = orientation.scaled_size(width, height, short_side=short_side)
    if (new_width, new_height) == (width, height):
        return frames
    reformatter = VideoReformatter()
    return np.stack(
        [
            reformatter.reformat(
                frame, new_width, new_height, interpolation=Interpolation.BILINEAR, threads=1
            ).to_ndarray()
            for frame in (av.VideoFrame.from_ndarray(array, format="rgb24") for array in frames)
        ]
    )


def _centre(frames: Frames, crop_size: int, path: Path) -> Frames:
    height, width = frames.shape[1:3]
    if min(height, width) < crop_size:
        raise VideoError(
            "too_small", f"{path}: frames of {width}×{height} px; crop_size is {crop_size}"
        )
    top, left = (height - crop_size) // 2, (width - crop_size) // 2
    return frames[:, top : top + crop_size, left : left + crop_size]
