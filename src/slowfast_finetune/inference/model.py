"""A trained model ready to be asked: ``load_model("models/best.pt").predict("clip.mp4")``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from slowfast_finetune.clips.windows import Window
from slowfast_finetune.clips.workers import worker_count
from slowfast_finetune.device import choose_device, choose_precision, make_fabric
from slowfast_finetune.errors import VideoError
from slowfast_finetune.inference.looking import Frame, Look, Looked, LookPlan, look_at
from slowfast_finetune.inference.streams import DecodeLimits, Wanted, frame_streams
from slowfast_finetune.inference.timeline import Segment, cell_edges, segments_of, smooth
from slowfast_finetune.inference.views import VIEWS_AT_ONCE, Views
from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from, load_checkpoint
from slowfast_finetune.model.speed import speed_up
from slowfast_finetune.params import RuntimeParams
from slowfast_finetune.videos.sampling import instants_before

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What a video shows.

    Attributes:
        path: of the video.
        label: the most probable class.
        answer: ``label``, or None ("none of these") where it is less probable than the threshold.
        confidence: the probability of ``label``.
        probabilities: of every class; those that evaluate gives for the same video. Of a video
            longer than the clip store keeps, the mean over all of it.
        segments: the answers in time.
        duration_seconds: as far as frames could be had.
    """

    path: Path
    label: str
    answer: str | None
    confidence: float
    probabilities: dict[str, float]
    segments: tuple[Segment, ...]
    duration_seconds: float

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes, surest first."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return ranked[:count]


@dataclass(frozen=True)
class Refused:
    """A video that could not be read: ``reason`` is a code of docs/formats.md."""

    path: Path
    reason: str
    detail: str


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
        values = checkpoint.params["runtime"] | {"device": device, "precision": precision}
        runtime = RuntimeParams.model_validate(values)
        self._checkpoint = checkpoint
        self._device = choose_device(runtime)
        fabric = make_fabric(self._device, choose_precision(runtime, self._device))
        classifier = classifier_from(checkpoint)
        speed_up(classifier)
        self._classifier = fabric.setup_module(classifier)
        self._classifier.eval()

    @property
    def class_names(self) -> list[str]:
        """Name of each label."""
        return list(self._checkpoint.class_names)

    @property
    def threshold(self) -> float:
        """An answer less probable than this is "none of these"."""
        return self._checkpoint.threshold

    def predict(self, path: str | Path) -> Prediction:
        """Look at one video.

        Raises:
            VideoError: it cannot be decoded.
        """
        (result,) = self.predict_many([Path(path)])
        if isinstance(result, Refused):
            raise VideoError(result.reason, f"{result.path}: {result.detail}")
        return result

    def predict_many(
        self,
        paths: Sequence[Path],
        *,
        stride_seconds: float | None = None,
        limits: DecodeLimits | None = None,
        num_workers: int | Literal["auto"] = "auto",
    ) -> Iterator[Prediction | Refused]:
        """Look at videos, each answered in its turn, the next ones decoded meanwhile.

        Args:
            stride_seconds: from one window of the timeline to the next; half a window if None.
        """
        plan = self._plan(stride_seconds)
        waiting: list[tuple[_Asked, Look]] = []
        ended: deque[_Asked] = deque()
        for asked, look in self._looks(paths, plan, limits or DecodeLimits(), num_workers):
            if look is None:
                ended.append(asked)
            else:
                waiting.append((asked, look))
            if len(waiting) == VIEWS_AT_ONCE:
                self._answer(waiting)
                waiting = []
            while ended and not any(asked is ended[0] for asked, _ in waiting):
                yield self._result(ended.popleft(), plan)
        self._answer(waiting)
        for asked in ended:
            yield self._result(asked, plan)

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
                if len(waiting) == VIEWS_AT_ONCE:
                    answer()
        except VideoError as error:
            return Refused(path, error.reason, error.detail)
        answer()
        return self._result(asked, plan)

    @property
    def wanted(self) -> Wanted:
        """How the frames of a video are to be taken."""
        shape = self._checkpoint.preprocessing
        return Wanted(shape.sample_fps, shape.short_side)

    def _plan(self, stride_seconds: float | None) -> LookPlan:
        shape = self._checkpoint.preprocessing
        params = self._checkpoint.params
        stride = (
            shape.num_frames // 2
            if stride_seconds is None
            else round(stride_seconds * shape.sample_fps)
        )
        fps = Fraction(shape.sample_fps).limit_denominator(100_000)
        return LookPlan(
            shape=shape,
            temporal_views=params["evaluate"]["temporal_views"],
            spatial_crops=params["evaluate"]["spatial_crops"],
            kept_frames=instants_before(Fraction(params["clip"]["max_seconds"]), sample_fps=fps),
            stride=min(max(1, stride), shape.num_frames),
        )

    def _looks(
        self,
        paths: Sequence[Path],
        plan: LookPlan,
        limits: DecodeLimits,
        num_workers: int | Literal["auto"],
    ) -> Iterator[tuple[_Asked, Look | None]]:
        """Every clip to be shown; None once a video has no more."""
        wanted = Wanted(plan.shape.sample_fps, plan.shape.short_side)
        streams = frame_streams(paths, wanted, limits, num_workers=worker_count(num_workers))
        for path, frames in streams:
            asked = _Asked(path)
            try:
                for look in look_at(frames, plan, asked.looked):
                    yield asked, look
            except VideoError as error:
                asked.refusal = Refused(path, error.reason, error.detail)
            yield asked, None

    @torch.inference_mode()
    def _answer(self, waiting: Sequence[tuple[_Asked, Look]]) -> None:
        if not waiting:
            return
        clips = torch.from_numpy(np.stack([look.clip for _, look in waiting]))
        logits = self._classifier(clips.to(self._device)).float().cpu().numpy()
        for (asked, look), values in zip(waiting, logits, strict=True):
            asked.logits[look.start, look.top, look.left] = values

    def _result(self, asked: _Asked, plan: LookPlan) -> Prediction | Refused:
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
            answer=name if confidence >= self.threshold else None,
            confidence=confidence,
            probabilities=dict(
                zip(self._checkpoint.class_names, probabilities.tolist(), strict=True)
            ),
            segments=tuple(
                segments_of(
                    cells,
                    [edge / fps for edge in edges],
                    class_names=self._checkpoint.class_names,
                    threshold=self.threshold,
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


def load_model(
    path: str | Path = "models/best.pt", *, device: str = "auto", precision: str = "auto"
) -> Model:
    """Load a trained model: ``load_model("models/best.pt").predict("clip.mp4")``.

    Args:
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32", "bf16" or "fp16".

    Raises:
        CheckpointError: missing, damaged, of another kind or version. Nothing in it is run.
        ParamsError: the device is not there.
    """
    return Model(load_checkpoint(Path(path)), device=device, precision=precision)
