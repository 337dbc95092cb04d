"""Inference engine of the server: from an uploaded file to the answer."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from slowfast_finetune.base.files import hash_file
from slowfast_finetune.model.checkpoint import Checkpoint
from slowfast_finetune.predicting.decoded_video import DecodedVideo
from slowfast_finetune.predicting.decoder_pool import DecodeLimits, DecoderPool
from slowfast_finetune.predicting.frame_pipe import FrameRun
from slowfast_finetune.predicting.prediction import RefusedVideo
from slowfast_finetune.predicting.predictor import load_model
from slowfast_finetune.serving.answers import Answer, ModelInfo, SegmentAnswer, Timing
from slowfast_finetune.serving.explaining import Explainer, KeptClips
from slowfast_finetune.serving.limits import ServeLimits
from slowfast_finetune.serving.problems import RequestRefusedError
from slowfast_finetune.serving.uploads import Upload

MAX_CARD_BYTES = 200_000
AHEAD_BYTES = 16 * 2**20  # of each open video: 64 frames of 256 × 340 px


class InferenceEngine:
    """A loaded model with its decoding processes. Only one thread may call ``answer``."""

    def __init__(
        self,
        checkpoint_path: Path,
        *,
        limits: ServeLimits,
        decoders: int,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self._limits = limits
        self._model = load_model(checkpoint_path, device=device, precision=precision)
        checkpoint = self._model.checkpoint
        self._explainer = Explainer(checkpoint)
        self._fps = checkpoint.preprocessing.sample_fps
        self._decoders = DecoderPool(
            DecodeLimits(
                seconds_without_frame=limits.decoder_seconds,
                worker_memory_mb=limits.worker_memory_mb,
            ),
            num_workers=decoders,
        )
        self.model_info = ModelInfo(
            name=checkpoint.model_name,
            digest=hash_file(checkpoint_path),
            class_names=checkpoint.class_names,
            threshold=checkpoint.threshold,
        )
        self.card = card_text(checkpoint_path, checkpoint)

    def open(self, path: Path, *, on_ready: Callable[[], object]) -> DecodedVideo:
        """Begin to decode a video; ``on_ready`` is called once its first frame can be taken."""
        # Slightly more than is answered: it shows whether the video goes on.
        seconds = self._limits.max_seconds + 2 / self._fps
        settings = replace(self._model.decode_settings, max_seconds=seconds)
        video = DecodedVideo(path, settings, max_bytes=AHEAD_BYTES, on_ready=on_ready)
        return self._decoders.open(video)

    def answer(
        self, video: DecodedVideo, upload: Upload, *, explain: bool, waiting_seconds: float
    ) -> Answer:
        """Predict an open video.

        Raises:
            RequestRefusedError: it cannot be read.
            VideoClosedError: it was closed meanwhile.
        """
        began = time.monotonic()
        beginning = _Beginning(video.runs(), max(1, int(self._limits.max_seconds * self._fps)))
        kept = KeptClips()
        result = self._model.predict_runs(
            upload.path, beginning, on_clip=kept.see if explain else None
        )
        if isinstance(result, RefusedVideo):
            # Clients must not learn where uploads are stored.
            detail = result.detail.replace(str(upload.path), "the video")
            raise RequestRefusedError(result.reason, detail)
        explanation = None
        if explain:
            label = self._model.class_names.index(result.label)
            num_frames = round(result.duration_seconds * self._fps)
            explanation = self._explainer.explain(
                kept.best(label), label=label, num_frames=num_frames
            )
        return Answer(
            name=upload.name,
            label=result.label,
            answer=result.answer,
            confidence=result.confidence,
            doubt=result.doubt,
            novelty=result.novelty,
            probabilities=dict(result.top(len(result.probabilities))),
            segments=[SegmentAnswer(**vars(segment)) for segment in result.segments],
            duration_seconds=result.duration_seconds,
            truncated=beginning.is_truncated,
            explanation=explanation,
            model=self.model_info,
            timing=Timing(
                upload_seconds=upload.seconds,
                waiting_seconds=waiting_seconds,
                predicting_seconds=time.monotonic() - began,
            ),
        )

    def close(self) -> None:
        """End the decoding processes."""
        self._decoders.close()


class _Beginning:
    """The first ``max_frames`` frames of a video; ``is_truncated`` where it goes on after them."""

    def __init__(self, runs: Iterable[FrameRun], max_frames: int) -> None:
        self._runs = runs
        self._max_frames = max_frames
        self.is_truncated = False

    def __iter__(self) -> Iterator[FrameRun]:
        left = self._max_frames
        for frame, length in self._runs:
            if left:
                yield FrameRun(frame, min(length, left))
            self.is_truncated = length > left
            if self.is_truncated:
                return
            left -= length


def card_text(checkpoint_path: Path, checkpoint: Checkpoint) -> str:
    """The card beside the checkpoint; where there is none, what the checkpoint itself tells."""
    try:
        content = checkpoint_path.with_name("README.md").read_bytes()
    except OSError:
        return _from_checkpoint(checkpoint)
    return content[:MAX_CARD_BYTES].decode("utf-8", "replace")


def _from_checkpoint(checkpoint: Checkpoint) -> str:
    shape = checkpoint.preprocessing
    facts: dict[str, object] = {
        "classes": ", ".join(checkpoint.class_names),
        "clip": f"{shape.num_frames} frames at {shape.sample_fps:g} a second, "
        f"{shape.crop_size} × {shape.crop_size} px of a frame {shape.short_side} px high or wide",
        "best epoch": checkpoint.epoch,
        "validation loss": f"{checkpoint.val_loss:.4f}",
        "threshold": f"{checkpoint.threshold:.3f}",
        "temperature": f"{checkpoint.temperature:.3f}",
    }
    known = {
        key.replace("_", " "): value
        for key, value in checkpoint.provenance.items()
        if isinstance(value, str | int | float)
    }
    rows = [f"| {key} | {value} |" for key, value in {**facts, **known}.items()]
    return "\n".join([f"# {checkpoint.model_name}", "", "| | |", "| --- | --- |", *rows, ""])
