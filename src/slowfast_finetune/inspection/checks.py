"""Run all checks of the data, and report technical properties that reveal the class.

A model can learn such a property instead of the action: a shortcut (Geirhos et al., "Shortcut
learning in deep neural networks", Nature Machine Intelligence 2, 2020).
"""

from collections.abc import Iterator, Sequence

from slowfast_finetune.base.manifest_table import case_noun
from slowfast_finetune.base.params import Params
from slowfast_finetune.clips.clip_tables import RejectedRow
from slowfast_finetune.evaluation.metadata_baseline import Giveaway, giveaways
from slowfast_finetune.inspection.counting import count_findings
from slowfast_finetune.inspection.duplicates import duplicate_findings
from slowfast_finetune.inspection.findings import Finding, make_finding, worst_first
from slowfast_finetune.inspection.group_names import group_hint
from slowfast_finetune.inspection.label_errors import CrossPrediction, cross_predict, label_findings
from slowfast_finetune.inspection.shared_scenes import scene_findings
from slowfast_finetune.inspection.video_summary import VideoSummary, sample

# Chosen on the two collections of docs/doctor.md, "Giveaways".
NOTABLE_SKILL = 0.15
GRAVE_SKILL = 0.5
MORE_SKILL = 0.1  # by which all properties together must exceed a single one to be named instead
POSSIBLE_ERRORS = 1.96  # standard errors above guessing: the two-sided 95 % level
CERTAIN_ERRORS = 3.0


def check_videos(
    videos: Sequence[VideoSummary],
    *,
    params: Params,
    rejected: Sequence[RejectedRow] = (),
    predicted: CrossPrediction | None = None,
) -> list[Finding]:
    """Run every check and return the findings, worst first.

    Args:
        rejected: videos that cannot be used.
        predicted: to judge labels by; None: by a simple model of pictures.
    """
    return worst_first(
        [
            *duplicate_findings(videos),
            *giveaway_findings(videos),
            *scene_findings(videos),
            *label_findings(predicted or cross_predict(videos)),
            *group_hint(videos),
            *count_findings(videos, params=params, rejected=rejected),
        ]
    )


def giveaway_findings(videos: Sequence[VideoSummary]) -> Iterator[Finding]:
    """Report the technical property that predicts the class best, if any does, and the others."""
    videos = sample(videos)
    found = [
        giveaway
        for giveaway in giveaways(videos)
        if giveaway.skill >= NOTABLE_SKILL and giveaway.standard_errors >= POSSIBLE_ERRORS
    ]
    if not found:
        return

    def explains(giveaway: Giveaway) -> tuple[bool, float]:
        # A single property that predicts as well as all together is the better explanation.
        handicap = MORE_SKILL if len(giveaway.facts) > 1 else 0
        return giveaway.standard_errors >= CERTAIN_ERRORS, giveaway.skill - handicap

    best = max(found, key=explains)
    others = [giveaway for giveaway in found if giveaway is not best]
    certain = best.standard_errors >= CERTAIN_ERRORS
    yield make_finding(
        "giveaway",
        "problem" if certain and best.skill >= GRAVE_SKILL else "warning",
        best=best,
        others=others,
        names=[
            found.facts[0] if len(found.facts) == 1 else "all file properties together"
            for found in (best, *others)
        ],
        certain=certain,
        one=len(best.facts) == 1,
        num_videos=len(videos),
        noun=case_noun(videos),
    )
