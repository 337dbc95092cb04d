"""Which videos the demo data set holds, and under which names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple, get_args

ClassName = Literal[
    "jumping_jacks", "sitting_down", "squatting", "standing_up", "walking", "waving"
]
CLASS_NAMES: tuple[ClassName, ...] = get_args(ClassName)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class VideoName(NamedTuple):
    """One video: its class, its person (from 1) and which of that person's takes it is."""

    class_name: ClassName
    person: int
    letter: str

    @property
    def path(self) -> Path:
        """Path inside the data set, such as `waving/person_017_a.mp4`."""
        return Path(self.class_name) / f"person_{self.person:03d}_{self.letter}.mp4"


def is_demo_path(relative_path: Path) -> bool:
    """Whether a path inside the folder is one that this generator makes: a class or a video."""
    pattern = rf"({'|'.join(CLASS_NAMES)})(/person_\d{{3}}_[a-z]\.mp4)?"
    return re.fullmatch(pattern, relative_path.as_posix()) is not None
