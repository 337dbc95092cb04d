"""A stored upload to an answer: the model, the decoding processes, and what the answer holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from slowfast_finetune.base.errors import VideoError
from slowfast_finetune.base.hashing import hash_file
from slowfast_finetune.model.checkpoint import load_checkpoint
from slowfast_finetune.predicting.decoder_pool import DecodedVideo, DecodeLimits, DecoderPool
from slowfast_finetune.predicting.frame_buffer import BufferClosedError
from slowfast_finetune.predicting.frame_pipe import FrameRun
from slowfast_finetune.predicting.prediction import Prediction, Refused
from slowfast_finetune.predicting.predictor import Predictor
from slowfast_finetune.serving.answers import (
    Answer,
    ExplanationSaid,
    ModelSaid,
    SegmentSaid,
    TimingSaid,
)
from slowfast_finetune.serving.card import card_text
from slowfast_finetune.serving.explaining import Explainer, KeptClips
from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.problems import ClientLeftError, refused_video
from slowfast_finetune.serving.queue import Job

AHEAD_BYTES = 16 * 2**20  # of each open video: 64 frames of 256 × 340 px
DIGITS = 6  # of probabilities and seconds


class VideoLooker:
    """A loaded model with its decoding processes. ``look`` belongs to one thread."""

    def __init__(
        self, checkpoint_path: Path, *, limits: ServeLimits, decoders: int, device: str = "auto"
    ) -> None:
        checkpoint = load_checkpoint(checkpoint_path)
        self._limits = limits
        self._model = Predictor(checkpoint, device=device)
        self._explainer = Explainer(checkpoint)
        self._class_names = checkpoint.class_names
        self._fps = checkpoint.preprocessing.sample_fps
        self._decoders = DecoderPool(
            DecodeLimits(
                seconds_without_frame=limits.decoder_seconds,
                worker_memory_mb=limits.worker_memory_mb,
            ),
            num_workers=decoders,
        )
        self.said = ModelSaid(
            name=checkpoint.model_name,
            digest=hash_file(checkpoint_path),
            class_names=checkpoint.class_names,
            threshold=checkpoint.threshold,
        )
        self.card = card_text(checkpoint_path, checkpoint)

    def open(self, path: Path) -> DecodedVideo:
        """Begin to decode; a little more than is looked at, which tells whether there is more."""
        request = self._model.frame_request
        seconds = self._limits.max_seconds + 2 / request.sample_fps
        request = replace(request, max_seconds=seconds)
        return self._decoders.open(path, request, ahead_bytes=AHEAD_BYTES)

    def look(self, job: Job) -> Answer:
        """Look at a video.

        Raises:
            RequestRefusedError: it cannot be read, or takes too long.
            ClientLeftError: nobody waits for the answer any more.
        """
        assert job.video is not None
        began = time.monotonic()
        watched = _Watched(job, fps=self._fps, limits=self._limits)
        kept = KeptClips()
        result = self._model.predict_runs(
            job.path, watched.runs(), on_clip=kept.see if job.explain else None
        )
        if isinstance(result, Refused):
            # Where we keep it is nobody's business.
            raise refused_video(result.reason, result.detail.replace(str(job.path), "the video"))
        explanation = self._explained(result, kept) if job.explain else None
        timing = TimingSaid(
            upload_seconds=round(job.upload_seconds, 3),
            waiting_seconds=round(job.waited_seconds, 3),
            looking_seconds=round(time.monotonic() - began, 3),
        )
        return self._answer(job, result, explanation, timing, is_truncated=watched.is_truncated)

    def close(self) -> None:
        """End the decoding processes."""
        self._decoders.close()

    def _explained(self, result: Prediction, kept: KeptClips) -> ExplanationSaid:
        label = self._class_names.index(result.label)
        num_frames = round(result.duration_seconds * self._fps)
        return self._explainer.explain(kept.best(label), label=label, num_frames=num_frames)

    def _answer(
        self,
        job: Job,
        result: Prediction,
        explanation: ExplanationSaid | None,
        timing: TimingSaid,
        *,
        is_truncated: bool,
    ) -> Answer:
        return Answer(
            name=job.name,
            label=result.label,
            answer=result.answer,
            confidence=round(result.confidence, DIGITS),
            probabilities={
                name: round(value, DIGITS) for name, value in result.top(len(result.probabilities))
            },
            segments=[
                SegmentSaid(
                    answer=segment.answer,
                    start_seconds=round(segment.start_seconds, DIGITS),
                    end_seconds=round(segment.end_seconds, DIGITS),
                    confidence=round(segment.confidence, DIGITS),
                )
                for segment in result.segments
            ],
            duration_seconds=round(result.duration_seconds, DIGITS),
            truncated=is_truncated,
            explanation=explanation,
            model=self.said,
            timing=timing,
        )


class _Watched:
    """The frames of a video until enough have come, time is up, or nobody waits any more."""

    def __init__(self, job: Job, *, fps: float, limits: ServeLimits) -> None:
        self._job = job
        self._max_frames = max(1, int(limits.max_seconds * fps))
        self._seconds = limits.answer_seconds
        self.is_truncated = False

    def runs(self) -> Iterator[FrameRun]:
        assert self._job.video is not None
        deadline = time.monotonic() + self._seconds
        taken = 0
        try:
            for frame, length in self._job.video.runs():
                if self._job.is_given_up:
                    raise ClientLeftError
                if time.monotonic() > deadline:
                    raise VideoError("timeout", f"looking at it took more than {self._seconds:g} s")
                self.is_truncated = taken + length > self._max_frames
                if taken < self._max_frames:
                    yield FrameRun(frame, min(length, self._max_frames - taken))
                taken += length
                if self.is_truncated:
                    return
        except BufferClosedError as error:
            raise ClientLeftError from error
