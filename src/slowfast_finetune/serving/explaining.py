"""Grad-CAM of the clip with the highest probability of the answer."""

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from
from slowfast_finetune.pictures import grad_cam
from slowfast_finetune.pictures.contact_sheets import data_uri, strip
from slowfast_finetune.predicting.clip_selection import SelectedClip
from slowfast_finetune.serving.answers import ExplainedFrame, Explanation

MAX_CLIPS = 4  # kept of a video until its answer is known
NUM_FRAMES = 4
MAX_HEIGHT = 224  # of a picture [px]
MIN_HEIGHT = 128

Scores = npt.NDArray[np.float32]


class KeptClips:
    """The clip with the highest probability of each class that was the most probable of some clip.

    At most MAX_CLIPS, so that memory does not grow with the video.
    """

    def __init__(self) -> None:
        self._by_label: dict[int, tuple[SelectedClip, Scores]] = {}

    def see(self, look: SelectedClip, logits: Scores) -> None:
        """Keep this clip if it is the best for the class that leads it."""
        scores = log_softmax(logits.astype(np.float64)).astype(np.float32)
        label = int(scores.argmax())
        before = self._by_label.get(label)
        if before is None or scores[label] > before[1][label]:
            self._by_label[label] = look, scores
        if len(self._by_label) > MAX_CLIPS:
            del self._by_label[min(self._by_label, key=lambda key: self._by_label[key][1][key])]

    def best(self, label: int) -> SelectedClip:
        """The clip with the highest probability of a class, of at least one that was seen."""
        return max(self._by_label.values(), key=lambda kept: kept[1][label])[0]


class Explainer:
    """Makes the pictures; a network of its own, as the one that answers takes no gradients."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._fps = checkpoint.preprocessing.sample_fps
        self._classifier = classifier_from(checkpoint) if grad_cam.is_installed() else None

    def explain(self, look: SelectedClip, *, label: int, num_frames: int) -> Explanation:
        """Explain the answer ``label`` by one clip of a video of ``num_frames`` sampled frames."""
        import torch

        if self._classifier is None:
            note = f"Grad-CAM needs captum: {grad_cam.HOW_TO_INSTALL}"
            return Explanation(start_seconds=None, frames=[], note=note)
        clip = torch.from_numpy(look.clip[None])
        maps = grad_cam.explain(self._classifier, clip, label=label)
        # What was padded is no part of the video.
        real = max(1, min(len(look.clip), num_frames - look.place[0]))
        weights = (maps.slow + maps.fast)[:real].mean(axis=(1, 2))
        frames = [
            ExplainedFrame(
                seconds=round((look.place[0] + index) / self._fps, 3),
                weight=round(float(weights[index] / weights.max()), 4) if weights.max() else 0.0,
                frame=_picture(look.clip[index]),
                slow=_heated(look.clip, maps.slow, index),
                fast=_heated(look.clip, maps.fast, index),
            )
            for index in strongest(weights, count=NUM_FRAMES)
        ]
        start = round(look.place[0] / self._fps, 3)
        return Explanation(start_seconds=start, frames=frames, note=None)


def strongest(weights: npt.NDArray[np.floating], *, count: int) -> list[int]:
    """The strongest frame of each of ``count`` equal parts of the clip, in time order."""
    parts = np.array_split(np.arange(len(weights)), min(count, len(weights)))
    return [int(part[weights[part].argmax()]) for part in parts]


def _heated(clip: npt.NDArray[np.uint8], maps: grad_cam.Maps, index: int) -> str:
    return _picture(grad_cam.overlay(clip[index : index + 1], maps[index : index + 1])[0])


def _picture(frame: npt.NDArray[np.uint8]) -> str:
    height = min(MAX_HEIGHT, max(MIN_HEIGHT, frame.shape[0]))
    return data_uri(strip(frame[None], height=height))
