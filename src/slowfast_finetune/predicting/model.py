"""A trained model ready to be asked: ``load_model("models/best.pt").predict("clip.mp4")``."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pydantic
import torch

from slowfast_finetune.base.errors import CheckpointError, VideoError
from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.clips.windows import Window, corners
from slowfast_finetune.clips.workers import worker_count
from slowfast_finetune.decoding.sampling import exact_rate, instants_before
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    Preprocessing,
    load_checkpoint,
    view_params,
)
from slowfast_finetune.model.device import choose_device
from slowfast_finetune.predicting.answers import Prediction, Refused
from slowfast_finetune.predicting.looking import Frame, Look, Looked, LookPlan, look_at
from slowfast_finetune.predicting.streams import DecodeLimits, Wanted, frame_streams
from slowfast_finetune.predicting.timeline import cell_edges, segments_of, smooth
from slowfast_finetune.scoring.ready import ready_classifier, views_at_once
from slowfast_finetune.scoring.views import Views

Probabilities = npt.NDArray[np.float64]


@dataclass
class _Asked:
    """A video whose clips have been shown, or are about to be."""

    path: Path
    looked: Looked = field(default_factory=Looked)
    logits: dict[tuple[int, int, int], npt.NDArray[np.float32]] = field(default_factory=dict)
    refusal: Refused | None = None


class Model:
    """A trained model with its preprocessing, class names, temperature and threshold."""

    def __init__(
        self, checkpoint: Checkpoint, *, device: str = "auto", precision: str = "auto"
    ) -> None:
        runtime = _runtime(checkpoint, device=device, precision=precision)
        self._checkpoint = checkpoint
        self._plan(None)  # what the checkpoint lacks is said now, not at the first video
        self._classifier, self._device = ready_classifier(checkpoint, runtime)

    @property
    def clips_at_once(self) -> int:
        """How many clips it is shown in one batch."""
        return views_at_once(self.preprocessing, self._device)

    @property
    def class_names(self) -> list[str]:
        """Name of each label."""
        return list(self._checkpoint.class_names)

    @property
    def threshold(self) -> float:
        """An answer less probable than this is "none of these"."""
        return self._checkpoint.threshold

    @property
    def preprocessing(self) -> Preprocessing:
        """How a clip is made from a video."""
        return self._checkpoint.preprocessing

    def clips_of(self, num_frames: int) -> list[tuple[int, int, int]]:
        """(start, top, left) of the clips shown of a video of so many square frames."""
        plan = self._plan(None)
        side = plan.shape.short_side
        frame = np.broadcast_to(np.uint8(0), (side, side, 3))
        return [
            (look.start, look.top, look.left)
            for look in look_at(itertools.repeat(frame, num_frames), plan, Looked())
        ]

    def look(self, frames: npt.NDArray[np.uint8]) -> tuple[str, float]:
        """The most probable class of one clip's upright, scaled frames, uint8 (T, H, W, 3)."""
        shape = self.preprocessing
        ((top, left),) = corners(frames.shape[1], frames.shape[2], shape.crop_size, 1)
        clip = frames[:, top : top + shape.crop_size, left : left + shape.crop_size]
        logits = self.logits(clip[None])
        window = Window(0, 0, top, left, shape.crop_size)
        (shares,) = Views([window], logits).probabilities(temperature=self._checkpoint.temperature)
        label = int(shares.argmax())
        return self._checkpoint.class_names[label], float(shares[label])

    def predict(
        self,
        path: str | Path,
        *,
        stride_seconds: float | None = None,
        threshold: float | None = None,
    ) -> Prediction:
        """Look at one video; the arguments are those of :meth:`predict_many`.

        Raises:
            VideoError: it cannot be decoded.
        """
        (result,) = self.predict_many(
            [Path(path)], stride_seconds=stride_seconds, threshold=threshold
        )
        if isinstance(result, Refused):
            raise VideoError(result.reason, f"{result.path}: {result.detail}")
        return result

    def predict_many(
        self,
        paths: Sequence[Path],
        *,
        stride_seconds: float | None = None,
        threshold: float | None = None,
        limits: DecodeLimits | None = None,
        num_workers: int | Literal["auto"] = "auto",
    ) -> Generator[Prediction | Refused]:
        """Look at videos, each answered in its turn, the next ones decoded meanwhile.

        Args:
            stride_seconds: from one window of the timeline to the next, at most a window; half a
                window if None.
            threshold: an answer less probable is "none of these"; the fitted one if None.
            num_workers: processes that decode; "auto" is one for each core.
        """
        plan = self._plan(stride_seconds)
        looks = self._looks(paths, plan, limits or DecodeLimits(), num_workers)
        # However this ends, the decoders end with it.
        with contextlib.closing(looks):
            for asked in self._answered(looks):
                yield self._result(asked, plan, self.threshold if threshold is None else threshold)

    def _answered(self, looks: Iterable[tuple[_Asked, Look | None]]) -> Iterator[_Asked]:
        """Videos of which every clip has been answered, in order."""
        waiting: list[tuple[_Asked, Look]] = []
        ended: deque[_Asked] = deque()
        for asked, look in looks:
            if look is None:
                ended.append(asked)
            else:
                waiting.append((asked, look))
            if len(waiting) == self.clips_at_once:
                self._answer(waiting)
                waiting = []
            while ended and not any(asked is ended[0] for asked, _ in waiting):
                yield ended.popleft()
        self._answer(waiting)
        yield from ended

    def predict_frames(
        self,
        path: Path,
        frames: Iterable[Frame],
        *,
        stride_seconds: float | None = None,
        shown: Callable[[Look, npt.NDArray[np.float32]], None] | None = None,
    ) -> Prediction | Refused:
        """Look at a video whose frames somebody else decodes, as ``wanted`` says.

        Args:
            path: what the answer calls the video; it is not opened.
            shown: is told every clip that the model was shown, and its logits (classes,).
        """
        plan = self._plan(stride_seconds)
        asked = _Asked(path)
        waiting: list[tuple[_Asked, Look]] = []

        def answer() -> None:
            self._answer(waiting)
            if shown is not None:
                for _, look in waiting:
                    shown(look, asked.logits[look.start, look.top, look.left])
            waiting.clear()

        try:
            for look in look_at(frames, plan, asked.looked):
                waiting.append((asked, look))
                if len(waiting) == self.clips_at_once:
                    answer()
        except VideoError as error:
            return Refused(path, error.reason, error.detail)
        answer()
        return self._result(asked, plan, self.threshold)

    @property
    def wanted(self) -> Wanted:
        """How the frames of a video are to be taken."""
        shape = self._checkpoint.preprocessing
        return Wanted(shape.sample_fps, shape.short_side)

    def _plan(self, stride_seconds: float | None) -> LookPlan:
        shape = self._checkpoint.preprocessing
        stride = (
            shape.num_frames // 2
            if stride_seconds is None
            else round(stride_seconds * shape.sample_fps)
        )
        fps = exact_rate(shape.sample_fps)
        clip, views = view_params(self._checkpoint)
        return LookPlan(
            shape=shape,
            temporal_views=views.temporal_views,
            spatial_crops=views.spatial_crops,
            kept_frames=instants_before(Fraction(clip.max_seconds), sample_fps=fps),
            stride=min(max(1, stride), shape.num_frames),
        )

    def _looks(
        self,
        paths: Sequence[Path],
        plan: LookPlan,
        limits: DecodeLimits,
        num_workers: int | Literal["auto"],
    ) -> Generator[tuple[_Asked, Look | None]]:
        """Every clip to be shown; None once a video has no more."""
        wanted = Wanted(plan.shape.sample_fps, plan.shape.short_side)
        streams = frame_streams(paths, wanted, limits, num_workers=worker_count(num_workers))
        with contextlib.closing(streams):
            for path, frames in streams:
                asked = _Asked(path)
                try:
                    for look in look_at(frames, plan, asked.looked):
                        yield asked, look
                except VideoError as error:
                    asked.refusal = Refused(path, error.reason, error.detail)
                yield asked, None

    @torch.inference_mode()
    def logits(self, clips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The network's answers (B, classes) to clips (B, T, H, W, 3)."""
        shown = torch.from_numpy(np.ascontiguousarray(clips)).to(self._device)
        logits: npt.NDArray[np.float32] = self._classifier(shown).float().cpu().numpy()
        return logits

    def _answer(self, waiting: Sequence[tuple[_Asked, Look]]) -> None:
        if not waiting:
            return
        logits = self.logits(np.stack([look.clip for _, look in waiting]))
        for (asked, look), values in zip(waiting, logits, strict=True):
            asked.logits[look.start, look.top, look.left] = values

    def _result(self, asked: _Asked, plan: LookPlan, threshold: float) -> Prediction | Refused:
        if asked.refusal is not None:
            return asked.refusal
        looked, fps = asked.looked, plan.shape.sample_fps
        cells, edges = self._cells(asked, plan)
        if looked.views:
            (probabilities,) = self._probabilities(asked, looked.views, [0] * len(looked.views))
        else:
            probabilities = np.average(cells, axis=0, weights=np.diff(edges))
        label = int(probabilities.argmax())
        confidence = float(probabilities[label])
        name = self._checkpoint.class_names[label]
        return Prediction(
            path=asked.path,
            label=name,
            answer=name if confidence >= threshold else None,
            confidence=confidence,
            probabilities=dict(
                zip(self._checkpoint.class_names, probabilities.tolist(), strict=True)
            ),
            segments=tuple(
                segments_of(
                    cells,
                    [edge / fps for edge in edges],
                    class_names=self._checkpoint.class_names,
                    threshold=threshold,
                )
            ),
            duration_seconds=looked.num_frames / fps,
        )

    def _cells(self, asked: _Asked, plan: LookPlan) -> tuple[Probabilities, list[int]]:
        """Smoothed probabilities (cells, classes), and the frames between which they lie."""
        looked, window = asked.looked, plan.shape.num_frames
        starts = [start for start, _, _ in looked.timeline]
        each = self._probabilities(asked, looked.timeline, range(len(starts)))
        # What was padded is no part of the video.
        edges = [min(edge, looked.num_frames) for edge in cell_edges(starts, window=window)]
        return smooth(each, starts, window=window), edges

    def _probabilities(
        self, asked: _Asked, keys: Sequence[tuple[int, int, int]], clips: Iterable[int]
    ) -> Probabilities:
        """Class probabilities (clips, classes), averaged as evaluate does it."""
        side = self._checkpoint.preprocessing.crop_size
        windows = [Window(clip, *key, side) for clip, key in zip(clips, keys, strict=True)]
        logits = np.stack([asked.logits[key] for key in keys])
        return Views(windows, logits).probabilities(temperature=self._checkpoint.temperature)


def _runtime(checkpoint: Checkpoint, *, device: str, precision: str) -> RuntimeParams:
    """Where and how to compute; a precision of "auto" is that of the checkpoint's own run.

    Raises:
        CheckpointError: its parameters are not as this project writes them.
    """
    own = checkpoint.params.get("runtime")
    try:
        runtime = RuntimeParams.model_validate({**(own or {}), "device": device})
        if precision != "auto":
            return runtime.model_copy(update={"precision": precision})
        if runtime.precision == "fp16" and choose_device(runtime).type == "cpu":
            return runtime.model_copy(update={"precision": "auto"})
    except (pydantic.ValidationError, TypeError) as error:
        raise CheckpointError("the checkpoint's params.runtime is not as written here") from error
    return runtime


def load_model(
    path: str | Path = "models/best.pt", *, device: str = "auto", precision: str = "auto"
) -> Model:
    """Load a trained model: ``load_model("models/best.pt").predict("clip.mp4")``.

    Args:
        device: "auto", "cpu" or "cuda".
        precision: "fp32", "bf16" or "fp16"; "auto" is that of the run that trained it.

    Raises:
        CheckpointError: missing, damaged, of another kind or version. Nothing in it is run.
        ParamsError: the device is not there.
    """
    checkpoint = load_checkpoint(Path(path))
    try:
        return Model(checkpoint, device=device, precision=precision)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
