"""The result of a check: what was found, how severe it is, and which videos it concerns."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from slowfast_finetune.inspection.readable import template_environment

# problem: the measured accuracy is wrong, or training or the model fails; warning: the accuracy may
# mislead; note: for information.
Level = Literal["problem", "warning", "note"]
LEVELS: tuple[Level, ...] = get_args(Level)
# Beginnings of the codes of findings that a person can confirm by looking at the frames.
SEEN_IN_PICTURES = ("alike-classes", "copies", "mislabelled", "near-copies", "seen-scenes")


@dataclass(frozen=True)
class Finding:
    """One fault or peculiarity of the data or of the predictions."""

    level: Level
    code: str  # identifier for scripts, listed in docs/doctor.md and docs/report.md
    title: str  # what was found, in one line
    detail: str  # what it means and what to do
    video_paths: tuple[str, ...] = ()  # clearest case first; empty if all videos are concerned

    @property
    def scenes(self) -> dict[str, str]:
        """Of the finding on scenes: the training video that each test video matches."""
        if self.code != "seen-scenes":
            return {}
        return dict(zip(self.video_paths[::2], self.video_paths[1::2], strict=True))


def make_finding(
    code: str, level: Level, video_paths: Iterable[str] = (), /, **values: object
) -> Finding:
    """Make a finding with the texts that findings.yaml has for its code.

    Args:
        values: the variables of the templates.
    """
    title, detail = (template.render(values, code=code) for template in _templates()[code])
    return Finding(level, code, title, detail, tuple(video_paths))


@cache
def _templates() -> dict[str, tuple[Any, Any]]:
    """Title and detail of each code, as Jinja templates."""
    import yaml

    environment = template_environment("inspection", autoescape=False)
    text = files(__package__).joinpath("findings.yaml").read_text(encoding="utf-8")
    return {
        code: (environment.from_string(texts["title"]), environment.from_string(texts["detail"]))
        for code, texts in yaml.safe_load(text).items()
    }


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings into problems, warnings and notes, keeping their order within a level."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
