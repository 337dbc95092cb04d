"""The feature store: one safetensors file per video, beside the clip store.

    <clip store>/features/<digest>/settings.json
    <clip store>/features/<digest>/<content hash>.safetensors

A file holds the features of all views of a video, float32 (V, D). The digest names all that they
depend on beside the video; docs/formats.md has the layout.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from slowfast_finetune.base.files import atomic_path, write_text
from slowfast_finetune.clips.clip_store import SETTINGS_NAME, SUFFIX, EntryError, EntryFolder
from slowfast_finetune.clips.clip_tables import ClipRow

if TYPE_CHECKING:
    from slowfast_finetune.model.device import Precision

Features = npt.NDArray[np.float32]

FORMAT_VERSION = 1
# To be raised with every change of the code that changes the features of a network's weights.
FORWARD_VERSION = 2
FOLDER = "features"
PROGRAMS = "programs"  # beside it: exported programs without weights, see model/exported_program.py
CORNER_NAME = "[0-9a-f]{16}"
TENSOR = "features"


@dataclass(frozen=True)
class FeatureSettings:
    """All that features depend on beside the video."""

    model: str  # the architecture
    weights: str  # digest of the tensors of all layers but the last
    clips: str  # the folder of the clip store with the clips, by its name
    num_frames: int  # of a clip
    crop_size: int  # side of the square that the network sees [px]
    precision: Precision  # of the computation
    temporal_views: int  # clips spread over each video
    spatial_crops: int  # squares of each clip
    mirrored: bool  # whether each clip is also computed with left and right exchanged

    @property
    def num_plain_views(self) -> int:
        """Views of each video that are not mirrored; they come first."""
        return self.temporal_views * self.spatial_crops

    @property
    def num_views(self) -> int:
        """Views of each video, V."""
        return self.num_plain_views * (1 + self.mirrored)

    @property
    def digest(self) -> str:
        """The name of the folder: 16 hex digits."""
        values = {"format": FORMAT_VERSION, "forward": FORWARD_VERSION, **asdict(self)}
        text = json.dumps(values, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def key_of(row: ClipRow) -> str:
    """The name under which the features of a row are stored: that of its clip."""
    if row.start_seconds is None:
        return row.content_hash
    return f"{row.content_hash}.{row.first_frame}-{row.first_frame + row.num_frames}"


class FeatureStore(EntryFolder):
    """The features of one setting, by the keys of their clips.

    Args:
        folder: ``<clip store>/features/<digest>``.
    """

    @classmethod
    def of(cls, root: Path, settings: FeatureSettings) -> FeatureStore:
        """The store of these settings within a clip store, which is made if it is not there."""
        store = cls(root / FOLDER / settings.digest)
        if not (store.folder / SETTINGS_NAME).exists():
            values = {"format_version": FORMAT_VERSION, "forward_version": FORWARD_VERSION}
            text = json.dumps({**values, **asdict(settings)}, indent=2)
            write_text(store.folder / SETTINGS_NAME, text + "\n")
        return store

    def keys(self) -> set[str]:
        """The keys of all files, from one listing."""
        return {file.name.removesuffix(SUFFIX) for file in self.folder.glob(f"[!.]*{SUFFIX}")}

    def write(self, key: str, features: Features) -> None:
        """Write the features of a video, float32 (V, D), atomically."""
        from safetensors.numpy import save_file

        features = np.ascontiguousarray(features, dtype=np.float32)
        with atomic_path(self.path(key)) as temporary:
            save_file({TENSOR: features}, temporary, metadata=self._metadata(key, features))

    def read(self, key: str) -> Features:
        """Read the features of a video, float32 (V, D), and check that they are as written.

        Raises:
            EntryError: the file is missing, damaged, or holds something else.
        """
        from safetensors import SafetensorError, safe_open

        path = self.path(key)
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                features: Features = file.get_tensor(TENSOR)
        except (OSError, ValueError, SafetensorError) as error:
            raise EntryError(f"{path}: the features cannot be read: {error}") from error
        for name, value in self._metadata(key, features).items():
            if metadata.get(name) != value:
                raise EntryError(f"{path}: the features are damaged: the {name} does not match")
        return features

    def _metadata(self, key: str, features: Features) -> dict[str, str]:
        """What a file says of itself."""
        return {
            "format_version": str(FORMAT_VERSION),
            "key": key,
            "settings": self.folder.name,
            # CRC-32 of the bytes, 8 hex digits: against decay, not against people.
            "checksum": f"{zlib.crc32(features.tobytes()):08x}",
        }


def feature_stores(root: Path) -> Iterator[tuple[FeatureStore, FeatureSettings | None]]:
    """Every feature store within a clip store; settings are None where they cannot be read."""
    folder = root / FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if re.fullmatch(CORNER_NAME, path.name) and (path / SETTINGS_NAME).is_file():
            settings = None
            with suppress(OSError, ValueError, TypeError, KeyError):
                values = json.loads((path / SETTINGS_NAME).read_text(encoding="utf-8"))
                del values["format_version"], values["forward_version"]
                settings = FeatureSettings(**values)
            yield FeatureStore(path), settings


class Extractor(NamedTuple):
    """The network that features come from: their settings but for views, clips and precision."""

    model: str
    weights: str
    num_frames: int
    crop_size: int


Places = Mapping[int, tuple[FeatureStore, FeatureSettings]]  # by position of a row


def find_stored(rows: Sequence[ClipRow], root: Path) -> dict[Extractor, Places]:
    """Find which networks' features of these rows a clip store has, and where.

    Of several stores that have a row, that with the most rows comes first.
    """
    stores = []
    for store, settings in feature_stores(root):
        if settings is not None and settings.digest == store.folder.name:  # of this version
            keys = store.keys()
            held = [
                position
                for position, row in enumerate(rows)
                if row.settings == settings.clips and key_of(row) in keys
            ]
            stores.append((store, settings, held))
    found: dict[Extractor, dict[int, tuple[FeatureStore, FeatureSettings]]] = defaultdict(dict)
    for store, settings, held in sorted(stores, key=lambda each: -len(each[2])):
        values = (settings.model, settings.weights, settings.num_frames, settings.crop_size)
        for position in held:
            found[Extractor(*values)].setdefault(position, (store, settings))
    return dict(found)


def read_means(rows: Sequence[ClipRow], places: Places) -> Features:
    """Read the means over the views that are not mirrored, float32 (places, D), by position.

    Raises:
        EntryError: a file is missing or damaged.
    """
    return np.stack(
        [
            store.read(key_of(rows[position]))[: settings.num_plain_views].mean(axis=0)
            for position, (store, settings) in sorted(places.items(), key=lambda place: place[0])
        ]
    )
