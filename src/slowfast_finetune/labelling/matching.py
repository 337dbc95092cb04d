"""Find the video files that lists and annotation tools name."""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from slowfast_finetune.base.grouping import grouped
from slowfast_finetune.indexing.label_table import composed


@dataclass
class Matches:
    """Which video each name means."""

    found: dict[str, str] = field(default_factory=dict)  # path from the videos folder, by name
    elsewhere: list[str] = field(default_factory=list)  # found with other folders or extension
    missing: list[str] = field(default_factory=list)  # names of no video
    # Names that may mean several videos, or that share one with another name.
    ambiguous: dict[str, list[str]] = field(default_factory=dict)


class VideoNames:
    """The videos of a folder, to be found by name.

    A name means the file of the same name, whatever the extension. Of several, it means the one of
    which most folders agree, counted from the last, and then the one with the same extension.
    """

    def __init__(self, videos: Iterable[str], extensions: Sequence[str]) -> None:
        self._extensions = tuple(extensions)
        self._by_stem = grouped(sorted(videos), key=lambda video: self._parts(video)[-1])

    def _parts(self, name: str) -> tuple[str, ...]:
        """Folders and the name without the extension of a video."""
        path = PurePosixPath(composed(name).replace("\\", "/"))
        if path.suffix.lower() in self._extensions:
            path = path.with_suffix("")
        return tuple(part for part in path.parts if part not in ("/", "..")) or ("",)

    def best(self, name: str) -> tuple[list[str], tuple[int, bool]]:
        """The videos that a name fits best, and how well: folders that agree, same extension."""
        ranked = defaultdict(list)
        wanted = self._parts(name)
        for video in self._by_stem.get(wanted[-1], []):
            pairs = zip(wanted[-2::-1], self._parts(video)[-2::-1], strict=False)
            agreeing = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            suffix = PurePosixPath(video).suffix
            ranked[agreeing, composed(name).endswith(suffix)].append(video)
        fit = max(ranked, default=(0, False))
        return ranked.get(fit, []), fit

    def has(self, stem: str) -> bool:
        """Whether there is a video of this name without extension."""
        return stem in self._by_stem

    def match(self, names: Mapping[str, Collection[str]]) -> Matches:
        """Find the videos of names, each with further names to try where the first finds none.

        Where several names fit one video, the one that fits better means it and the others are
        missing; where they fit it equally well, all are ambiguous.
        """
        matches = Matches()
        claims: dict[str, list[tuple[tuple[int, bool], str]]] = defaultdict(list)
        for name, others in names.items():
            for tried in (name, *others):
                videos, fit = self.best(tried)
                if videos:
                    break
            if not videos:
                matches.missing.append(name)
            elif len(videos) > 1:
                matches.ambiguous[name] = videos
            else:
                claims[videos[0]].append((fit, name))
        for video, claimed in claims.items():
            best = max(fit for fit, _ in claimed)
            means = [name for fit, name in claimed if fit == best]
            matches.missing += [name for fit, name in claimed if fit != best]
            if len(means) > 1:
                matches.ambiguous |= {name: [video] for name in means}
                continue
            matches.found[means[0]] = video
            parts = self._parts(means[0])
            if best[0] < len(parts) - 1 or (PurePosixPath(means[0]).suffix and not best[1]):
                matches.elsewhere.append(means[0])
        return matches
