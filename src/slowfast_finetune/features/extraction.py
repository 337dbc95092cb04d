"""Compute the features of stored videos: what a network's last layer is given, for fixed views."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from slowfast_finetune.base.console import ProgressBar, say
from slowfast_finetune.base.params import AugmentParams, ClipShape, RuntimeParams, TrainParams
from slowfast_finetune.clips.clip_store import EntryError
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.clips.windows import ViewPlan, Window, plan_views
from slowfast_finetune.features.feature_store import (
    Extractor,
    Features,
    FeatureSettings,
    FeatureStore,
    key_of,
)
from slowfast_finetune.model.checkpoint import Checkpoint, classifier_from
from slowfast_finetune.model.device import choose_device, choose_precision, process_rank
from slowfast_finetune.model.slowfast import ClipClassifier, head_of
from slowfast_finetune.scoring.ready import autocast
from slowfast_finetune.scoring.views import Views, outputs_of


def probe_views(train: TrainParams, augment: AugmentParams) -> ViewPlan:
    """The views that a probe is fitted to."""
    return ViewPlan(train.probe_views, mirrored=augment.horizontal_flip > 0)


@dataclass(frozen=True)
class Backbone:
    """What computes features: a network of pytorchvideo whose last layer does not matter."""

    network: nn.Module  # with weights
    name: str  # of the architecture
    shape: ClipShape

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Backbone:
        """The network of a checkpoint."""
        network = classifier_from(checkpoint).network
        return cls(network, checkpoint.model_name, checkpoint.preprocessing)


@dataclass(frozen=True)
class VideoFeatures:
    """The features of N videos."""

    values: Features  # float32 (N, V, D); the views in the order of :func:`plan_views`
    settings: FeatureSettings  # all that they depend on
    num_computed: int  # videos whose features were not in the store

    @property
    def unmirrored(self) -> Features:
        """The features of the views that are not mirrored, (N, views, D)."""
        return self.values[:, : self.settings.num_plain_views]


def weights_digest(network: nn.Module) -> str:
    """BLAKE2b over names, dtypes, shapes and values of all tensors but the last layer's."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(network.state_dict().items()):
        if not name.startswith("blocks.6.proj."):
            value = value.detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.view(-1).numpy().data)
    return digest.hexdigest()


def extractor_of(checkpoint: Checkpoint) -> Extractor:
    """What names the features of a checkpoint in the feature stores."""
    backbone = Backbone.of(checkpoint)
    shape, weights = backbone.shape, weights_digest(backbone.network)
    return Extractor(backbone.name, weights, shape.num_frames, shape.crop_size)


def features_of(
    rows: Sequence[ClipRow],
    backbone: Backbone,
    *,
    views: ViewPlan,
    clips: Path,
    runtime: RuntimeParams,
) -> VideoFeatures:
    """Give the features of stored videos; what the feature store lacks is computed and kept.

    Each video is written when its last view is computed, so that a killed process loses the videos
    in flight alone. A damaged file is computed again. Rows of one clip share one computation.

    Args:
        backbone: its modules are prepared in place by :func:`made_ready`; names and numbers stay.
        clips: the folder of the clip store, which has the entries of all rows.

    Raises:
        DataError: a clip is gone or damaged.
        ParamsError: the device does not exist, or cannot compute in the precision.
    """
    device = choose_device(runtime)
    settings = FeatureSettings(
        model=backbone.name,
        weights=weights_digest(backbone.network),
        clips=clips.name,
        num_frames=backbone.shape.num_frames,
        crop_size=backbone.shape.crop_size,
        precision=choose_precision(runtime, device),
        **asdict(views),
    )
    store = FeatureStore.of(clips.parent, settings)
    num_features = head_of(backbone.network).in_features
    known = _read_known(rows, store, shape=(settings.num_views, num_features))
    missing = [*{key_of(row): row for row in rows if key_of(row) not in known}.values()]
    if missing:
        windows = plan_views(missing, backbone.shape, views)
        computed = compute(backbone, missing, windows, clips=clips, runtime=runtime)
        with closing(computed):  # the progress bar is gone, however this ends
            for row, values in zip(missing, computed, strict=True):
                store.write(key_of(row), values)
                known[key_of(row)] = values
    return VideoFeatures(np.stack([known[key_of(row)] for row in rows]), settings, len(missing))


def view_features(
    rows: Sequence[ClipRow],
    *,
    checkpoint: Checkpoint,
    clips: Path,
    runtime: RuntimeParams,
    views: ViewPlan,
) -> Views:
    """What :func:`view_stored` gives, from features: only those not in the store are computed.

    For checkpoints of probes: their features stay the same while the head changes.

    Raises:
        DataError, ParamsError: as :func:`features_of`.
    """
    backbone = Backbone.of(checkpoint)
    found = features_of(rows, backbone, views=views, clips=clips, runtime=runtime)
    values = torch.from_numpy(found.values).flatten(0, 1)
    with torch.inference_mode(), autocast("cpu", found.settings.precision):
        logits = head_of(backbone.network).cpu()(values).float().numpy()
    return Views(plan_views(rows, backbone.shape, views), logits, values.numpy())


def _read_known(
    rows: Sequence[ClipRow], store: FeatureStore, *, shape: tuple[int, int]
) -> dict[str, Features]:
    """Read what the store has of these rows; says which files are damaged."""
    known = {}
    for key in sorted(store.keys() & {key_of(row) for row in rows}):
        try:
            values = store.read(key)
            if values.shape != shape:
                raise EntryError(f"{store.path(key)}: has the shape {values.shape}, not {shape}")
            known[key] = values
        except EntryError as error:
            say(f"{error}; they are computed again")
    return known


def compute(
    backbone: Backbone,
    rows: Sequence[ClipRow],
    windows: Sequence[Window],
    *,
    clips: Path,
    runtime: RuntimeParams,
    rough: bool = False,
) -> Generator[Features]:
    """Compute the features of stored videos, float32 (V, D) of each, in their order.

    Args:
        windows: the V views of each video, video by video.
        rough: for a check: show no progress; a single clip may be rounded otherwise than several.
    """
    each = len(windows) // len(rows)
    outputs = outputs_of(
        ClipClassifier(backbone.network),
        rows,
        windows,
        shape=backbone.shape,
        clips=clips,
        runtime=runtime,
        pads=not rough,
    )
    hidden = rough or process_rank() > 0  # one process shows its share
    waiting: list[Features] = []
    with ProgressBar("computing features", total=len(rows), hidden=hidden) as bar:
        for _, features in outputs:
            waiting.extend(features.numpy())
            while len(waiting) >= each:
                yield np.stack(waiting[:each])
                waiting = waiting[each:]
                bar.advance(1)
