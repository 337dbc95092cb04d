"""All checks of the data in one call: looks in, findings out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slowfast_finetune.inspection.counting import count_findings
from slowfast_finetune.inspection.duplicates import duplicate_findings
from slowfast_finetune.inspection.findings import Finding, worst_first
from slowfast_finetune.inspection.labels import label_findings
from slowfast_finetune.inspection.looks import Look, Refused
from slowfast_finetune.inspection.naming import group_hint
from slowfast_finetune.inspection.scenes import scene_findings
from slowfast_finetune.inspection.shortcuts import FACTS, Giveaway, giveaways
from slowfast_finetune.params import CacheParams, ClipParams

# docs/doctor.md has the measurements these come from.
NOTABLE_SKILL = 0.15
GRAVE_SKILL = 0.5
PERHAPS = 2.0  # standard errors; docs/doctor.md tells how often chance reaches them
BEYOND_LUCK = 3.0
MOST_VIDEOS = 10_000


def inspect(
    looks: Sequence[Look],
    *,
    refused: Sequence[Refused] = (),
    clip: ClipParams | None = None,
    cache: CacheParams | None = None,
) -> list[Finding]:
    """Everything that is wrong or odd about these videos, worst first.

    Args:
        refused: videos that could not be looked at.
        clip: to tell which videos will be padded; without it nothing is said of that.
        cache: to tell how many refused videos are too many.
    """
    return worst_first(
        [
            *count_findings(looks, refused=refused, clip=clip, cache=cache),
            *duplicate_findings(looks),
            *giveaway_findings(looks),
            *scene_findings(looks),
            *label_findings(looks),
            *group_hint(looks),
        ]
    )


def giveaway_findings(looks: Sequence[Look]) -> list[Finding]:
    """Facts that tell the class, the most telling first; all together where that tells more."""
    if len(looks) > MOST_VIDEOS:
        chosen = np.random.default_rng(0).choice(len(looks), MOST_VIDEOS, replace=False)
        looks = [looks[i] for i in sorted(chosen.tolist())]
    telling = [
        found
        for found in giveaways(looks)
        if found.skill >= NOTABLE_SKILL and found.standard_errors >= PERHAPS
    ]
    single = sorted((f for f in telling if len(f.facts) == 1), key=lambda found: -found.skill)
    together = [f for f in telling if f.facts == FACTS]
    # All facts together tell what the best of them tells; more is news.
    if single:
        together = [f for f in together if f.skill > single[0].skill + 0.1]
    return [_giveaway(found, num_videos=len(looks)) for found in [*single, *together]]


def _giveaway(found: Giveaway, *, num_videos: int) -> Finding:
    first, *others = found.facts
    what = f"{', '.join(found.facts[:-1])} and {found.facts[-1]} together" if others else first
    is_sure = found.standard_errors >= BEYOND_LUCK
    verb = ("tell" if others else "tells") if is_sure else "may tell"
    doubt = "" if is_sure else f" With {num_videos:,} videos this can be luck."
    return Finding(
        "problem" if is_sure and found.skill >= GRAVE_SKILL else "warning",
        "giveaway",
        f"{what} alone {verb} the class: {found.balanced_accuracy:.0%} right, guessing "
        f"{found.chance:.0%}",
        "Mean over the classes, for videos that the guess was not fitted to; of all videos "
        f"{found.accuracy:.0%}, where always naming the largest class has {found.majority:.0%}."
        f"{doubt} A model can learn that in place of the action: film or convert all classes "
        "alike, and count only what it has above this.",
    )
