"""All checks of the data in one call: looks in, findings out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slowfast_finetune.base.params import CacheParams, ClipParams
from slowfast_finetune.evaluation.metadata import Giveaway, giveaways
from slowfast_finetune.inspection.counting import count_findings
from slowfast_finetune.inspection.duplicates import duplicate_findings
from slowfast_finetune.inspection.findings import Finding, rounded_percent, worst_first
from slowfast_finetune.inspection.labels import label_findings
from slowfast_finetune.inspection.looks import Look, Refused
from slowfast_finetune.inspection.naming import group_hint
from slowfast_finetune.inspection.scenes import scene_findings

# docs/doctor.md has the measurements these come from.
NOTABLE_SKILL = 0.15
GRAVE_SKILL = 0.5
MORE_SKILL = 0.1  # that several facts must have to be named before a single one
PERHAPS = 1.96  # standard errors, as for 95 %; docs/doctor.md tells how often luck reaches them
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
            *duplicate_findings(looks),
            *giveaway_findings(looks),
            *scene_findings(looks),
            *label_findings(looks),
            *group_hint(looks),
            *count_findings(looks, refused=refused, clip=clip, cache=cache),
        ]
    )


def giveaway_findings(looks: Sequence[Look]) -> list[Finding]:
    """One finding of the facts that tell the class, the most telling in its title; or none."""
    if len(looks) > MOST_VIDEOS:
        chosen = np.random.default_rng(0).choice(len(looks), MOST_VIDEOS, replace=False)
        looks = [looks[i] for i in sorted(chosen.tolist())]
    telling = [
        found
        for found in giveaways(looks)
        if found.skill >= NOTABLE_SKILL and found.standard_errors >= PERHAPS
    ]
    if not telling:
        return []
    # Of two that tell as much, the single fact is the better explanation.
    best = max(
        telling,
        key=lambda found: (
            found.standard_errors >= BEYOND_LUCK,
            found.skill - (MORE_SKILL if len(found.facts) > 1 else 0),
        ),
    )
    return [_giveaway(best, [f for f in telling if f is not best], num_videos=len(looks))]


def _giveaway(best: Giveaway, others: Sequence[Giveaway], *, num_videos: int) -> Finding:
    is_sure = best.standard_errors >= BEYOND_LUCK
    verb = "may tell" if not is_sure else "tells" if len(best.facts) == 1 else "tell"
    also = [f"{_named(found)} {rounded_percent(found.balanced_accuracy)}" for found in others]
    return Finding(
        "problem" if is_sure and best.skill >= GRAVE_SKILL else "warning",
        "giveaway",
        f"{_named(best)} alone {verb} the class: "
        f"{rounded_percent(best.balanced_accuracy)} right, guessing "
        f"{rounded_percent(best.chance)}",
        "Mean over the classes, for videos that the guess was not fitted to; of all videos "
        f"{rounded_percent(best.accuracy)}, where always naming the largest class has "
        f"{rounded_percent(best.majority)}."
        + (f" Also: {', '.join(also)}." if also else "")
        + ("" if is_sure else f" With {num_videos:,} videos this can be luck.")
        + " A model can learn that in place of the action: film or convert all classes alike, and "
        "count only what it has above this.",
    )


def _named(found: Giveaway) -> str:
    return found.facts[0] if len(found.facts) == 1 else "all facts of the file together"
