"""Predict videos with a trained checkpoint: ``load_model("models/best.pt").predict("a.mp4")``."""

import bisect
import contextlib
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pydantic
import torch
from torch import Tensor

from slowfast_finetune.base.errors import CheckpointError, ParamsError, VideoError
from slowfast_finetune.base.params import RuntimeParams
from slowfast_finetune.clips.windows import corners
from slowfast_finetune.clips.workers import worker_count
from slowfast_finetune.decoding.sampling import (
    DecodeSettings,
    exact_rate,
    instants_before,
    window_starts,
)
from slowfast_finetune.model.checkpoint import (
    Checkpoint,
    classifier_from,
    load_checkpoint,
    view_params,
)
from slowfast_finetune.model.device import choose_device
from slowfast_finetune.predicting.clip_selection import (
    ClipPlan,
    Place,
    SelectedClip,
    VideoClips,
    select_clips,
)
from slowfast_finetune.predicting.decoder_pool import DecodeLimits, decode_in_order
from slowfast_finetune.predicting.frame_pipe import FrameRun
from slowfast_finetune.predicting.int8_network import Int8Network
from slowfast_finetune.predicting.prediction import Doubt, Prediction, RefusedVideo
from slowfast_finetune.predicting.timeline import (
    Probabilities,
    Segment,
    blur,
    segments_of,
    smooth,
    window_spans,
)
from slowfast_finetune.predicting.timeline_settings import TimelineSettings, read_settings
from slowfast_finetune.scoring.calibration import probabilities_of
from slowfast_finetune.scoring.novelty import FAMILIAR, ClassDistances
from slowfast_finetune.scoring.ready import made_ready, views_at_once

Logits = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32]
# Probabilities (cells, classes) of a video's stretches, and the times between them [s].
Cells = tuple[Probabilities, list[float]]
OnClip = Callable[[SelectedClip, Logits], None]


MOST_FEATURES = 1000  # kept of a video that is longer than the clip store keeps: 9 MB of R50


@dataclass
class _ScoredVideo:
    """A video, its clips, and what the model gives for those that were shown, by their places."""

    path: Path
    longest: float  # a video of more frames gives windows alone; features of all are not kept
    clips: VideoClips = field(default_factory=VideoClips)
    logits: dict[Place, Logits] = field(default_factory=dict)  # each (classes,)
    features: dict[Place, Features] = field(default_factory=dict)  # each (D,)
    refusal: RefusedVideo | None = None

    def add(self, place: Place, logits: Logits, features: Features) -> None:
        """Keep what the model gives; too many features of a long video are thinned by half."""
        self.logits[place], self.features[place] = logits, features
        if len(self.features) > MOST_FEATURES and self.clips.num_frames > self.longest:
            for other in [*self.features][1::2]:
                del self.features[other]

    def shown(self, places: Iterable[Place]) -> list[Place]:
        """The places that were shown, for some of which hold the same frames as an earlier one."""
        return [self.clips.shown_as.get(place, place) for place in places]

    def logits_at(self, places: Iterable[Place]) -> Logits:
        """The logits of clips (clips, classes)."""
        return np.stack([self.logits[place] for place in self.shown(places)])

    def features_at(self, places: Iterable[Place]) -> Features:
        """The features of clips (clips, D); where they are not kept, those of the nearest."""
        kept = [*self.features]
        return np.stack(
            [
                self.features[
                    place
                    if place in self.features
                    else min(kept, key=lambda other: abs(other[0] - place[0]))
                ]
                for place in self.shown(places)
            ]
        )

    def mean_features(self, plan: ClipPlan) -> Features:
        """The mean features (D,) of the views; of a long video of as many windows, spread over it.

        The distance from the classes depends on how many are averaged: its limit is fitted to the
        views.
        """
        places = self.clips.views
        if not places:
            begins = [run.place[0] for run in self.clips.timeline]
            spread = window_starts(
                self.clips.num_frames,
                window=plan.shape.num_frames,
                views=plan.temporal_views * plan.spatial_crops,
            )
            runs = [bisect.bisect_right(begins, start) - 1 for start in spread]
            places = [self.clips.timeline[run].place for run in runs]
        mean: Features = self.features_at(places).mean(axis=0, dtype=np.float64)
        return mean.astype(np.float32)


class ViewFeatures(NamedTuple):
    """What the last layer is given for the views of a video that evaluate averages.

    Of a video longer than the clip store keeps they are windows one after the other.
    """

    path: Path
    start_seconds: list[float]  # of each of the V views
    values: Features  # float32 (V, D)


class Predictor:
    """A trained model with its preprocessing, class names, temperature and threshold.

    Attributes:
        checkpoint: what it was made from.
        class_names: name of each label.
        threshold: an answer less probable than this is "none of these".
        class_distances: what tells which videos are unlike the training videos, if anything.
        timeline: how timelines are made.
        timeline_note: what is to be said of that, if anything.
        preprocessing: how a clip is made from a video, geometry and rates.
        decode_settings: how frames of a video must be sampled for this model.
        clips_at_once: number of clips in a batch.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        timeline: TimelineSettings | None = None,
        device: str = "auto",
        precision: str = "auto",
        int8_network: Int8Network | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.timeline = timeline or TimelineSettings()
        self.timeline_note = ""
        self._plan(None)  # raises now, not at the first video, if the checkpoint lacks something
        self.class_distances = ClassDistances.of(checkpoint)
        self._network: Callable[[Tensor], tuple[Tensor, Tensor]]  # logits and features of clips
        if int8_network is not None:
            self._network, self._device = int8_network, torch.device("cpu")
        else:
            runtime = _runtime(checkpoint, device=device, precision=precision)
            self._network, self._device = made_ready(classifier_from(checkpoint), runtime)
        self.class_names = list(checkpoint.class_names)
        self.threshold = checkpoint.threshold
        self.preprocessing = shape = checkpoint.preprocessing
        self.decode_settings = DecodeSettings(shape.sample_fps, shape.short_side)
        self.clips_at_once = views_at_once(shape, self._device)

    def predict_clip(self, frames: npt.NDArray[np.uint8]) -> tuple[str, float]:
        """The most probable class of one clip's upright, scaled frames, uint8 (T, H, W, 3)."""
        side = self.preprocessing.crop_size
        ((top, left),) = corners(frames.shape[1], frames.shape[2], side, 1)
        logits, _ = self.logits_and_features(frames[None, :, top : top + side, left : left + side])
        (shares,) = self._probabilities(logits)
        label = int(shares.argmax())
        return self.class_names[label], float(shares[label])

    def predict(
        self,
        path: str | Path,
        *,
        stride_seconds: float | None = None,
        threshold: float | None = None,
        max_novelty: float = FAMILIAR,
    ) -> Prediction:
        """Predict one video; the arguments are those of :meth:`predict_many`.

        Raises:
            VideoError: it cannot be decoded.
        """
        paths = [Path(path)]
        (result,) = self.predict_many(
            paths, stride_seconds=stride_seconds, threshold=threshold, max_novelty=max_novelty
        )
        if isinstance(result, RefusedVideo):
            raise VideoError(result.reason, f"{result.path}: {result.detail}")
        return result

    def predict_many(
        self,
        paths: Sequence[Path],
        *,
        stride_seconds: float | None = None,
        threshold: float | None = None,
        max_novelty: float = FAMILIAR,
        num_workers: int | Literal["auto"] = "auto",
    ) -> Generator[Prediction | RefusedVideo]:
        """Predict videos in order, the next ones decoded meanwhile.

        Args:
            stride_seconds: from one window of the timeline to the next, at most a window; that of
                ``timeline`` if None.
            threshold: an answer less probable is "none of these"; if None the fitted one, and for
                segments that of ``timeline``.
            max_novelty: a video of more has no answer, for it is unlike the training videos;
                ``math.inf`` answers to any.
            num_workers: processes that decode; "auto" is one for each core.
        """
        # The decoders end however this generator ends.
        stride = self.timeline.stride_seconds if stride_seconds is None else stride_seconds
        plan = self._plan(stride)
        with contextlib.closing(self._streams(paths, num_workers)) as streams:
            for video in self._scored(streams, plan):
                yield video.refusal or self._prediction(video, plan, threshold, max_novelty)

    def features(self, path: str | Path, *, views: tuple[int, int] | None = None) -> ViewFeatures:
        """The features of one video.

        Args:
            views: clips spread over it, and squares of each; those of evaluate if not given.

        Raises:
            VideoError: it cannot be decoded.
        """
        (result,) = self.features_many([Path(path)], views=views)
        if isinstance(result, RefusedVideo):
            raise VideoError(result.reason, f"{result.path}: {result.detail}")
        return result

    def features_many(
        self,
        paths: Sequence[Path],
        *,
        views: tuple[int, int] | None = None,
        num_workers: int | Literal["auto"] = "auto",
    ) -> Generator[ViewFeatures | RefusedVideo]:
        """The features of videos in order, the next ones decoded meanwhile."""
        shape = self.preprocessing
        plan = self._plan(shape.num_frames / shape.sample_fps)
        if views is not None:
            plan = replace(plan, temporal_views=views[0], spatial_crops=views[1])
        with contextlib.closing(self._streams(paths, num_workers)) as streams:
            for video in self._scored(streams, plan, keeps_all=True):
                if video.refusal is not None:
                    yield video.refusal
                    continue
                starts = [start / shape.sample_fps for start, _, _ in video.clips.averaged]
                yield ViewFeatures(video.path, starts, video.features_at(video.clips.averaged))

    def timeline_cells(
        self, paths: Sequence[Path], *, stride_seconds: float
    ) -> Iterator[Cells | RefusedVideo]:
        """What timelines are made of, before smoothing; arguments as of :meth:`predict_many`."""
        plan = self._plan(stride_seconds)
        with contextlib.closing(self._streams(paths, "auto")) as streams:
            for video in self._scored(streams, plan):
                yield video.refusal or self._cells(video, plan)

    def _streams(
        self, paths: Sequence[Path], num_workers: int | Literal["auto"]
    ) -> Generator[tuple[Path, Iterable[FrameRun]]]:
        return decode_in_order(
            paths, self.decode_settings, DecodeLimits(), num_workers=worker_count(num_workers)
        )

    def predict_runs(
        self, path: Path, runs: Iterable[FrameRun], *, on_clip: OnClip | None = None
    ) -> Prediction | RefusedVideo:
        """Predict a video from frames that were sampled as ``decode_settings`` say.

        Args:
            path: for the result; it is not opened.
            on_clip: called with each clip and its logits (classes,).
        """
        plan = self._plan(self.timeline.stride_seconds)
        (video,) = self._scored([(path, runs)], plan, on_clip)
        return video.refusal or self._prediction(video, plan, None, FAMILIAR)

    @torch.inference_mode()
    def logits_and_features(self, clips: npt.NDArray[np.uint8]) -> tuple[Logits, Features]:
        """Logits (B, classes) and features (B, D) of clips, uint8 (B, T, H, W, 3)."""
        shown = torch.from_numpy(np.ascontiguousarray(clips)).to(self._device)
        logits, features = self._network(shown)
        return logits.cpu().numpy(), features.cpu().numpy()

    def _scored(
        self,
        streams: Iterable[tuple[Path, Iterable[FrameRun]]],
        plan: ClipPlan,
        on_clip: OnClip | None = None,
        *,
        keeps_all: bool = False,
    ) -> Iterator[_ScoredVideo]:
        """Videos of which every clip has been shown to the model, in order.

        Args:
            keeps_all: the features of every window of long videos, too.
        """
        batch: list[tuple[_ScoredVideo, SelectedClip]] = []
        ended: deque[_ScoredVideo] = deque()
        for path, runs in streams:
            video = _ScoredVideo(path, math.inf if keeps_all else plan.kept_frames)
            try:
                for clip in select_clips(runs, plan, video.clips):
                    batch.append((video, clip))
                    if len(batch) == self.clips_at_once:
                        self._score(batch, on_clip)
                        while ended:
                            yield ended.popleft()
            except VideoError as error:
                video.refusal = RefusedVideo(path, error.reason, error.detail)
            ended.append(video)
            while ended and not any(ended[0] is waiting for waiting, _ in batch):
                yield ended.popleft()
        self._score(batch, on_clip)
        yield from ended

    def _score(
        self, batch: list[tuple[_ScoredVideo, SelectedClip]], on_clip: OnClip | None
    ) -> None:
        """Show the clips to the model, and empty the batch."""
        if not batch:
            return
        logits, features = self.logits_and_features(np.stack([clip.clip for _, clip in batch]))
        for number, (video, clip) in enumerate(batch):
            # Copies: a view would hold the features of the whole batch.
            video.add(clip.place, logits[number], features[number].copy())
            if on_clip is not None:
                on_clip(clip, logits[number])
        batch.clear()

    def _plan(self, stride_seconds: float | None) -> ClipPlan:
        shape = self.checkpoint.preprocessing
        stride = shape.num_frames // 2
        if stride_seconds is not None:
            stride = round(stride_seconds * shape.sample_fps)
        clip, views = view_params(self.checkpoint)
        max_seconds, fps = Fraction(clip.max_seconds), exact_rate(shape.sample_fps)
        return ClipPlan(
            shape=shape,
            temporal_views=views.temporal_views,
            spatial_crops=views.spatial_crops,
            kept_frames=instants_before(max_seconds, sample_fps=fps),
            stride=min(max(1, stride), shape.num_frames),
        )

    def _prediction(
        self, video: _ScoredVideo, plan: ClipPlan, threshold: float | None, max_novelty: float
    ) -> Prediction:
        clips, names = video.clips, self.class_names
        cells, edges = self._cells(video, plan)
        if clips.views:
            probabilities = self._probabilities(video.logits_at(clips.views)).mean(axis=0)
        else:
            probabilities = np.average(cells, axis=0, weights=np.diff(edges))
        label = int(probabilities.argmax())
        confidence = float(probabilities[label])
        settings, sure_enough = self.timeline, self.threshold
        if threshold is not None:
            settings = settings.model_copy(update={"threshold": threshold})
            sure_enough = threshold
        novelty: float | None = None
        if self.class_distances is not None:
            novelty = float(self.class_distances.novelty(video.mean_features(plan)[None])[0])
        doubt: Doubt | None = None
        if novelty is not None and novelty > max_novelty:
            doubt = "unlike the training videos"
            settings = settings.model_copy(update={"threshold": math.inf})  # nor any part of it
        elif confidence < sure_enough:
            doubt = "between classes"
        return Prediction(
            path=video.path,
            label=names[label],
            answer=names[label] if doubt is None else None,
            confidence=confidence,
            probabilities=dict(zip(names, probabilities.tolist(), strict=True)),
            segments=tuple(self.segments(cells, edges, settings)),
            duration_seconds=clips.num_frames / plan.shape.sample_fps,
            novelty=novelty,
            doubt=doubt,
        )

    def segments(
        self, cells: Probabilities, edges_seconds: Sequence[float], settings: TimelineSettings
    ) -> list[Segment]:
        """The timeline that settings make of ``Cells``."""
        return segments_of(
            blur(cells, edges_seconds, seconds=settings.smoothing_seconds),
            edges_seconds,
            class_names=self.class_names,
            threshold=self.threshold if settings.threshold is None else settings.threshold,
            shortest_seconds=settings.shortest_seconds,
        )

    def _cells(self, video: _ScoredVideo, plan: ClipPlan) -> Cells:
        """Probabilities (cells, classes), and the times between which they lie [s]."""
        clips = video.clips
        logits = video.logits_at(run.place for run in clips.timeline)
        spans, numbers = window_spans(
            [(run.place[0], run.length) for run in clips.timeline],
            stride=plan.stride,
            window=plan.shape.num_frames,
        )
        cells, edges = smooth(self._probabilities(logits)[numbers], spans)
        # Padding is not part of the video.
        return cells, [min(edge, clips.num_frames) / plan.shape.sample_fps for edge in edges]

    def _probabilities(self, logits: Logits) -> Probabilities:
        """Class probabilities (clips, classes), as evaluate's."""
        return probabilities_of(logits, temperature=self.checkpoint.temperature)


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
) -> Predictor:
    """Load a trained model: ``load_model("models/best.pt").predict("clip.mp4")``.

    Timelines are made as models/best_timeline.json says, where there is that file.

    Args:
        device: "auto", "cpu" or "cuda".
        precision: "fp32", "bf16" or "fp16"; "auto" is that of the run that trained it; "int8" is
            for the CPU, and computes with the file that ``slowfast export --format int8`` makes.

    Raises:
        CheckpointError: missing, damaged, of another kind or version. Nothing in it is run.
        ParamsError: the device is not there, or cannot compute in the precision.
    """
    checkpoint = load_checkpoint(Path(path))
    int8_network = None
    if precision == "int8":
        if device == "cuda":
            raise ParamsError("int8 is for the CPU; on cuda there are auto, fp32, bf16 and fp16")
        int8_network = Int8Network.beside(Path(path))
    timeline, note = read_settings(Path(path))
    try:
        model = Predictor(
            checkpoint,
            timeline=timeline,
            device=device,
            precision=precision,
            int8_network=int8_network,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    model.timeline_note = note
    return model
