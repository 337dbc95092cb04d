"""Pure: what the numbers of a run say, in plain words, and what in them should make one look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from slowfast_finetune.clips.clip_tables import ClipRow
from slowfast_finetune.evaluation.result_tables import ClassRow, ConfusionRow
from slowfast_finetune.inspection.findings import Finding
from slowfast_finetune.report.results import (
    Estimate,
    Results,
    Scores,
    VideoResult,
    number_of_groups,
)
from slowfast_finetune.report.wording import count, interval, listed, percent, plain

SURE = 0.9  # a mistake above this confidence may be a wrong label
UNEQUAL = 4  # the largest class has so many times the videos of the smallest
WIDE = 0.2  # an interval of 20 percentage points tells little
FEW_GROUPS = 20  # with fewer, intervals are rough: Cameron, Gelbach and Miller, 2008
RARE = 0.05  # how often luck may do the same
CALIBRATED = 0.1  # calibration error above which confidence misleads


def verdict(results: Results) -> list[str]:
    """The result in a few sentences: how good, how certain, compared with what, weakest where."""
    return [
        _how_good(results.scores, results.predictions),
        _compared(results.scores),
        *_weakest(results.classes, results.confusion),
        *_answers(results.scores),
    ]


def _how_good(scores: Scores, predictions: Sequence[VideoResult]) -> str:
    accuracy = scores["top1_accuracy"]
    right = sum(prediction.is_right for prediction in predictions)
    grouped = any(prediction.row.group for prediction in predictions)
    origin = (
        f"they come from {count(number_of_groups(predictions), 'group')}"
        if grouped
        else "no groups are given, so people and places of training may be among them"
    )
    text = f"{right} of {count(len(predictions), 'test video')} recognised; {origin}."
    if accuracy.low is None or accuracy.high is None:
        return text
    return (
        f"{text} Other videos of the same kind would likely give between "
        f"{percent(accuracy.low)} and {percent(accuracy.high)} (95 % interval)."
    )


def _compared(scores: Scores) -> str:
    names = {
        "chance_baseline": "Guessing would score",
        "majority_baseline": "always answering the most frequent class",
        "metadata_baseline": "the files' properties alone, without a look at the picture,",
    }
    parts = [
        f"{text} {percent(scores[name].value)}" for name, text in names.items() if name in scores
    ]
    above = scores.get("above_metadata")
    text = "; ".join(parts) + "." if parts else ""
    if above is None:
        return text
    if above.value <= 0:
        return f"{text} The model adds nothing to that."
    within = "" if above.low is None else f" ({interval(above.low, above.high)})"
    return f"{text} What the model adds to that: {percent(above.value)}{within}."


def _weakest(classes: Sequence[ClassRow], confusion: Sequence[ConfusionRow]) -> list[str]:
    known = [(row.recall, row) for row in classes if row.recall is not None]
    if not known:
        return []
    recall, weakest = min(known, key=lambda pair: pair[0])
    if recall == 1:
        return ["No class has a mistake."]
    taken = max(
        _mistakes_of(weakest.class_name, confusion), key=lambda row: row.count, default=None
    )
    mostly = "" if taken is None else f", most often taken for {taken.predicted}"
    return [
        f"Recognised least: {weakest.class_name}, {percent(recall)} of "
        f"{count(weakest.num_videos, 'video')}{mostly}."
    ]


def _mistakes_of(class_name: str, confusion: Sequence[ConfusionRow]) -> list[ConfusionRow]:
    return [row for row in confusion if row.actual == class_name != row.predicted]


def _answers(scores: Scores) -> list[str]:
    answered, accuracy = scores.get("answered"), scores.get("accuracy_when_answered")
    if answered is None or accuracy is None or answered.value in (0, 1):
        return []
    return [
        f"Where it is sure enough to answer, in {percent(answered.value)} of the videos, "
        f"{percent(accuracy.value)} of the answers are right"
        + ("." if accuracy.low is None else f" ({interval(accuracy.low, accuracy.high)}).")
    ]


def pointers(results: Results) -> list[Finding]:
    """What in the predictions should make one look, in no particular order."""
    training = Counter(row.class_name for row in results.clips if row.split == "train")
    return [
        *nothing_learnt(results.scores),
        *spanning_groups(results.clips),
        *dead_classes(results.classes, num_classes=len(results.class_names)),
        *mistaken_classes(results.confusion, results.predictions, results.scores),
        *imbalance(training, results.scores),
        *sure_mistakes(results.predictions),
        *misjudged_confidence(results.predictions, results.scores),
        *too_little_to_tell(results.predictions, results.scores),
    ]


def nothing_learnt(scores: Scores) -> list[Finding]:
    """The model is not above what can be had without looking at the picture."""
    accuracy = scores["top1_accuracy"]
    found = []
    majority = scores.get("majority_baseline")
    if majority is not None and accuracy.value <= majority.value:
        found.append(
            Finding(
                "problem",
                "not-above-majority",
                f"Always answering the most frequent class scores {percent(majority.value)}; "
                f"the model {percent(accuracy.value)}: it has learnt nothing",
                "Look at the curves: does the training loss fall at all? Are the labels right?",
            )
        )
    metadata = scores.get("metadata_baseline")
    if metadata is not None:
        found += _beside_metadata(accuracy, metadata, scores)
    return found


def _beside_metadata(accuracy: Estimate, metadata: Estimate, scores: Scores) -> list[Finding]:
    chance = scores.get("chance_baseline", Estimate(0.0)).value
    majority = scores.get("majority_baseline", Estimate(0.0)).value
    floor = max(chance, majority)
    above = scores.get("above_metadata")
    what = (
        "Resolution, pixel shape, frame rate, interlacing, length, codec, dynamic range and sound "
        "track were all that was looked at. "
        "Where they tell the class, a model may learn them in place of the action."
    )
    if metadata.value <= floor:
        return []  # properties that tell no more than a guess are no number to beat
    if accuracy.value <= metadata.value:
        return [
            Finding(
                "problem",
                "not-above-metadata",
                f"What the files' properties alone predict: {percent(metadata.value)}; the model "
                f"{percent(accuracy.value)}: nothing learnt beyond it",
                f"{what} Record or convert all classes alike, and measure again.",
            )
        ]
    if above is not None and above.low is not None and above.low <= 0:
        return [
            Finding(
                "warning",
                "maybe-not-above-metadata",
                f"The model scores {percent(accuracy.value)}, the files' properties alone "
                f"{percent(metadata.value)}: the difference may be luck",
                f"Its 95 % interval is {interval(above.low, above.high)}. {what}",
            )
        ]
    # Half of the way from a guess to perfect, from properties alone.
    if metadata.value - floor > (1 - floor) / 2:
        return [
            Finding(
                "warning",
                "metadata-tells-class",
                f"The files' properties alone predict {percent(metadata.value)} of the classes",
                f"{what} What is left above that is the score above_metadata.",
            )
        ]
    return []


def spanning_groups(clips: Sequence[ClipRow]) -> list[Finding]:
    """Groups of the test split that training has seen too."""
    seen = {clip.group for clip in clips if clip.split == "train" and clip.group}
    spanning = [clip for clip in clips if clip.split == "test" and clip.group in seen]
    if not spanning:
        return []
    names = sorted({str(clip.group) for clip in spanning})
    return [
        Finding(
            "problem",
            "group-on-both-sides",
            f"Training has seen groups of the test videos: {listed(names)}",
            "What the model knows of them it need not recognise: the number flatters. Split so "
            "that a group lies on one side.",
            tuple(clip.video_path for clip in spanning),
        )
    ]


def dead_classes(classes: Sequence[ClassRow], *, num_classes: int) -> list[Finding]:
    """Classes that are never recognised, or no more often than a guess would."""
    chance = 1 / max(num_classes, 1)
    recalls = {row.class_name: row.recall for row in classes if row.recall is not None}
    never = [name for name, recall in recalls.items() if recall == 0]
    guessed = [name for name, recall in recalls.items() if 0 < recall <= chance]
    found = []
    if never:
        found.append(
            Finding(
                "problem",
                "dead-class",
                f"Never recognised: {listed(never)}",
                "Too few training videos, wrong labels, or hidden by a larger class? "
                "Choose its cells in the confusion table and look.",
            )
        )
    if guessed:
        found.append(
            Finding(
                "warning",
                "class-at-chance",
                f"No better than a guess: {listed(guessed)}",
                f"With {num_classes} classes a guess is right in {percent(chance)} of the videos.",
            )
        )
    return found


def mistaken_classes(
    confusion: Sequence[ConfusionRow], predictions: Sequence[VideoResult], scores: Scores
) -> list[Finding]:
    """Classes taken for one other class more often than for themselves, by more than luck.

    A coin would decide so in one test set of twenty, with as many pairs of classes to choose from
    (Bonferroni) and groups that are right or wrong together. A model that has learnt nothing
    accuses nobody.
    """
    from scipy.stats import binomtest

    majority = scores.get("majority_baseline", Estimate(0.0)).value
    if scores["top1_accuracy"].value <= majority:
        return []
    classes = {row.actual for row in confusion}
    num_pairs = len(classes) * (len(classes) - 1)
    per_group = max(1.0, len(predictions) / max(number_of_groups(predictions), 1))
    found = []
    for actual, group in groupby(confusion, key=lambda row: row.actual):
        rows = list(group)
        own = sum(row.count for row in rows if row.predicted == actual)
        worst = max(rows, key=lambda row: row.count)
        if worst.predicted == actual or worst.count <= own:
            continue
        cases = math.ceil((worst.count + own) / per_group)
        times = round(worst.count / per_group)
        luck = binomtest(min(times, cases), cases, 0.5, alternative="greater").pvalue
        if luck * num_pairs < RARE:
            found.append(
                Finding(
                    "problem",
                    "taken-for-another",
                    f"{percent(worst.share)} of {actual} is taken for {worst.predicted}: "
                    "are the labels right?",
                    f"Only {own} of its {count(sum(row.count for row in rows), 'test video')} "
                    "are recognised. Exchanged labels look like this; so do two classes that "
                    "show the same action, and a class that a much larger one hides.",
                    tuple(
                        prediction.row.video_path
                        for prediction in _surest_first(predictions)
                        if (prediction.row.actual, prediction.row.predicted)
                        == (actual, worst.predicted)
                    ),
                )
            )
    return found


def _surest_first(predictions: Sequence[VideoResult]) -> list[VideoResult]:
    return sorted(predictions, key=lambda prediction: -prediction.row.confidence)


def imbalance(training: Mapping[str, int], scores: Scores) -> list[Finding]:
    """Classes of very unequal size, where accuracy flatters.

    Args:
        training: training videos of each class.
    """
    if len(training) < 2:
        return []
    largest = max(training, key=lambda name: training[name])
    smallest = min(training, key=lambda name: training[name])
    if training[largest] < UNEQUAL * training[smallest]:
        return []
    share = training[largest] / sum(training.values())
    accuracy, balanced = scores["top1_accuracy"], scores.get("balanced_accuracy")
    beside = "" if balanced is None else f", balanced accuracy {percent(balanced.value)}"
    return [
        Finding(
            "warning",
            "imbalance",
            f"Unequal classes: {percent(share)} of the training videos are {largest}; "
            f"accuracy {percent(accuracy.value)}{beside}",
            f"{smallest} has {training[smallest]}, {largest} {training[largest]}. Balanced "
            "accuracy counts every class the same: read that one, and see the recall of each "
            "class. train.class_balance helps rare classes.",
        )
    ]


def sure_mistakes(predictions: Sequence[VideoResult]) -> list[Finding]:
    """Mistakes of which the model is certain: often the label is the mistake."""
    sure = [
        prediction
        for prediction in _surest_first(predictions)
        if not prediction.is_right and prediction.row.confidence >= SURE
    ]
    if not sure:
        return []
    return [
        Finding(
            "warning",
            "sure-mistakes",
            f"{count(len(sure), 'mistake')} made with at least {percent(SURE)} confidence",
            "So sure a mistake is often a wrong label. They are shown below: look at them first.",
            tuple(prediction.row.video_path for prediction in sure),
        )
    ]


def misjudged_confidence(predictions: Sequence[VideoResult], scores: Scores) -> list[Finding]:
    """Confidence that does not match how often the model is right."""
    error = scores.get("calibration_error")
    if error is None or error.value <= CALIBRATED:
        return []
    accuracy = scores["top1_accuracy"].value
    confidence = sum(prediction.row.confidence for prediction in predictions) / len(predictions)
    over = confidence > accuracy
    return [
        Finding(
            "warning" if over else "note",
            "overconfident" if over else "underconfident",
            f"Too {'sure' if over else 'unsure'} of itself: confidence {percent(confidence)} on "
            f"average, right in {percent(accuracy)}",
            f"The calibration error is {plain(error.value)}. Take its probabilities as an order, "
            "not as odds; see the reliability diagram.",
        )
    ]


def too_little_to_tell(predictions: Sequence[VideoResult], scores: Scores) -> list[Finding]:
    """Too few test videos, or too few groups of them, to tell how good the model is."""
    accuracy = scores["top1_accuracy"]
    groups = number_of_groups(predictions)
    wide = (
        accuracy.low is not None
        and accuracy.high is not None
        and accuracy.high - accuracy.low > WIDE
    )
    if not wide and groups >= FEW_GROUPS:
        return []
    what = count(len(predictions), "test video")
    if any(prediction.row.group for prediction in predictions):
        what += f" of {count(groups, 'group')}"
    detail = "Add test videos, best of new people, places or cameras, or raise data.test_fraction."
    if wide:
        title = (
            "The accuracy is uncertain: 95 % confidence interval "
            f"{interval(accuracy.low, accuracy.high)}, from {what}"
        )
    else:
        title = f"{what}: with so few the interval is rough"
    return [Finding("warning", "too-few-videos" if wide else "too-few-groups", title, detail)]
