"""Which videos the demo data set holds, and under which names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

ClassName = Literal[
    "jumping_jacks", "sitting_down", "squatting", "standing_up", "walking", "waving"
]
CLASS_NAMES: tuple[ClassName, ...] = get_args(ClassName)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MAX_PEOPLE = 999

_VIDEO_FILE = re.compile(r"person_\d{3}_[a-z]\.mp4")


@dataclass(frozen=True)
class VideoName:
    """One video: its class, its person (from 1) and which of that person's takes it is."""

    class_name: ClassName
    person: int
    letter: str

    @property
    def path(self) -> Path:
        """Path inside the data set, such as `waving/person_017_a.mp4`."""
        return Path(self.class_name) / f"person_{self.person:03d}_{self.letter}.mp4"


def list_videos(*, people: int, videos_per_person: int) -> list[VideoName]:
    """Every video of the data set, sorted by path. Each person performs every class."""
    return [
        VideoName(class_name, person, letter)
        for class_name in CLASS_NAMES
        for person in range(1, people + 1)
        for letter in LETTERS[:videos_per_person]
    ]


def is_demo_file(relative_path: Path) -> bool:
    """Whether a file at this path inside the folder can only come from this generator."""
    return (
        len(relative_path.parts) == 2
        and relative_path.parent.name in CLASS_NAMES
        and _VIDEO_FILE.fullmatch(relative_path.name) is not None
    )
