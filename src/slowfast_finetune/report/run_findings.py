"""Check the predictions and scores of a run. Pure."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from slowfast_finetune.base.manifest_table import case_noun, unit_noun
from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation.resampling import few_units
from slowfast_finetune.evaluation.result_tables import ClassRow, ConfusionRow
from slowfast_finetune.inspection.counting import imbalance
from slowfast_finetune.inspection.findings import Finding, make_finding
from slowfast_finetune.report.results import (
    Results,
    Scores,
    VideoResult,
    number_of_groups,
    tested,
)
from slowfast_finetune.report.video_order import surest_mistakes

SURE = 0.9  # confidence from which a wrong prediction suggests a wrong label
WIDE = 0.2  # width of the confidence interval of the accuracy
SIGNIFICANCE = 0.05


def check_run(results: Results) -> list[Finding]:
    """Run all checks of the predictions; the findings are in no particular order."""
    scores, predictions = results.scores, results.predictions
    training = Counter(row.class_name for row in results.clips if row.split == "train")
    return [
        *seen_by_weights(results),
        *baseline_findings(scores),
        *shared_groups(results.clips),
        *dead_classes(results.classes, num_classes=len(results.class_names)),
        *confused_classes(results.confusion, predictions, scores),
        *imbalance(
            training,
            noun=case_noun(results.clips),
            accuracy=scores["top1_accuracy"].value,
            balanced=scores["balanced_accuracy"].value if "balanced_accuracy" in scores else None,
        ),
        *sure_mistakes(predictions),
        *miscalibration(predictions, scores),
        *uncertainty(predictions, scores),
    ]


def seen_by_weights(results: Results) -> Iterator[Finding]:
    """Report that test videos trained the weights that training began with, or may have."""
    number = results.run.get("test_videos_seen", 0)  # 0 for runs of versions without it
    weights = results.run.get("params", {}).get("model", {}).get("weights")
    texts = {"noun": case_noun(results.clips), "weights": weights}
    if number is None:
        yield make_finding("weights-may-have-seen-test", "note", **texts)
    elif number:
        total = len(results.predictions)
        yield make_finding("weights-saw-test", "problem", number=number, total=total, **texts)


def baseline_findings(scores: Scores) -> Iterator[Finding]:
    """Compare the accuracy with the baselines that need no look at the frames."""
    accuracy = scores["top1_accuracy"].value
    values = {
        name: scores[f"{name}_baseline"].value if f"{name}_baseline" in scores else 0.0
        for name in ("chance", "majority", "metadata")
    }
    majority, metadata = values["majority"], values["metadata"]
    guessing = max(values["chance"], majority)
    low = scores["top1_accuracy"].low
    if "majority_baseline" in scores and accuracy <= majority:
        yield make_finding("not-above-majority", "problem", accuracy=accuracy, majority=majority)
    elif low is not None and low <= guessing >= metadata:
        texts = {"accuracy": scores["top1_accuracy"], "guessing": guessing}
        yield make_finding("maybe-guessing", "warning", **texts, is_majority=guessing == majority)
    if metadata <= guessing:
        return  # file properties that predict no more than a guess need not be exceeded
    above = scores.get("above_metadata")
    texts = {"accuracy": accuracy, "metadata": metadata, "above": above}
    if accuracy <= metadata:
        yield make_finding("not-above-metadata", "problem", **texts)
    elif above is not None and (above.low is None or above.low <= 0):
        yield make_finding("maybe-not-above-metadata", "warning", **texts)
    elif metadata - guessing > (1 - guessing) / 2:
        yield make_finding("metadata-tells-class", "warning", **texts)


def shared_groups(clips: Sequence[ClipRow]) -> Iterator[Finding]:
    """Report groups that are in both the training and the test split."""
    trained = {clip.group for clip in clips if clip.split == "train" and clip.group}
    shared = [clip for clip in clips if clip.split == "test" and clip.group in trained]
    if shared:
        paths = [clip.case for clip in shared]
        names = sorted({str(clip.group) for clip in shared})
        yield make_finding("group-on-both-sides", "problem", paths, names=names)


def dead_classes(classes: Sequence[ClassRow], *, num_classes: int) -> Iterator[Finding]:
    """Report classes whose recall is 0, or not above guessing."""
    recalls = {row.class_name: row.recall for row in classes if row.recall is not None}
    never = [name for name, recall in recalls.items() if recall == 0]
    guessed = [name for name, recall in recalls.items() if 0 < recall <= 1 / num_classes]
    if never:
        yield make_finding("dead-class", "problem", names=never)
    if guessed:
        yield make_finding("class-at-chance", "warning", names=guessed, num_classes=num_classes)


def confused_classes(
    confusion: Sequence[ConfusionRow], predictions: Sequence[VideoResult], scores: Scores
) -> Iterator[Finding]:
    """Report classes that are predicted as one other class more often than correctly.

    By a one-sided binomial test at 5 %, Bonferroni-corrected for the number of pairs of classes, in
    which a group counts once. Skipped if the accuracy is not above the majority baseline.
    """
    from scipy.stats import binomtest

    majority = scores.get("majority_baseline")
    if majority is not None and scores["top1_accuracy"].value <= majority.value:
        return
    num_classes = len({row.actual for row in confusion})
    per_group = max(1.0, len(predictions) / max(number_of_groups(predictions), 1))
    for actual, group in groupby(confusion, key=lambda row: row.actual):
        rows = list(group)
        correct = sum(row.count for row in rows if row.predicted == actual)
        worst = max(rows, key=lambda row: row.count)
        if worst.predicted == actual or worst.count <= correct:
            continue
        trials = math.ceil((worst.count + correct) / per_group)
        successes = min(round(worst.count / per_group), trials)
        p_value = binomtest(successes, trials, 0.5, alternative="greater").pvalue
        if p_value * num_classes * (num_classes - 1) < SIGNIFICANCE:
            yield make_finding(
                "taken-for-another",
                "problem",
                [
                    video.row.case
                    for video in surest_mistakes(predictions)
                    if (video.row.actual, video.row.predicted) == (actual, worst.predicted)
                ],
                worst=worst,
                correct=correct,
                total=sum(row.count for row in rows),
                noun=case_noun(video.row for video in predictions),
            )


def sure_mistakes(predictions: Sequence[VideoResult]) -> Iterator[Finding]:
    """Report wrong predictions of high confidence.

    They make labels doubtful in classes of which more than half is predicted correctly.
    """
    sure = [video.row for video in surest_mistakes(predictions) if video.row.confidence >= SURE]
    if not sure:
        return
    surplus: Counter[str] = Counter()  # correct predictions less wrong ones
    for video in predictions:
        surplus[video.row.actual] += 1 if video.is_right else -1
    doubtful = sum(surplus[row.actual] > 0 for row in sure)
    paths = [row.case for row in sure]
    texts = {"number": len(sure), "limit": SURE, "doubtful": doubtful}
    yield make_finding("sure-mistakes", "warning", paths, **texts)


def miscalibration(predictions: Sequence[VideoResult], scores: Scores) -> Iterator[Finding]:
    """Report a mean confidence outside the confidence interval of the accuracy.

    This tests calibration in the large: Van Calster et al., "A calibration hierarchy for risk
    models was defined", 2016. A limit of the calibration error would not: of 20 predictions of a
    calibrated model it is mostly above 0.1, by chance alone.
    """
    accuracy = scores["top1_accuracy"]
    confidence = sum(video.row.confidence for video in predictions) / len(predictions)
    values = {"confidence": confidence, "accuracy": accuracy}
    if accuracy.high is not None and confidence > accuracy.high:
        yield make_finding("overconfident", "warning", **values)
    elif accuracy.low is not None and confidence < accuracy.low:
        yield make_finding("underconfident", "note", **values)


def uncertainty(predictions: Sequence[VideoResult], scores: Scores) -> Iterator[Finding]:
    """Report a wide confidence interval, and too few groups for a reliable one."""
    accuracy, what = scores["top1_accuracy"], tested(predictions)
    known = accuracy.low is not None and accuracy.high is not None
    if known and accuracy.high - accuracy.low > WIDE:  # type: ignore[operator]
        yield make_finding("too-few-videos", "warning", accuracy=accuracy, what=what)
    unit = unit_noun(video.row for video in predictions)
    if few := few_units(number_of_groups(predictions), unit, of_shares=True):
        yield make_finding("too-few-groups", "warning", few=few)
