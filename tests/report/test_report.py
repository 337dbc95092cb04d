"""The report: what it says of numbers worked out by hand, what it shows of a run, how large it is.

Data made to mislead goes through the real measurement, so that the whole is tested, not a phrase.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import yaml
from pipeline_imports import PROJECT
from reported_run import Answer, Run, answers, probabilities, write_run
from synthetic import make_rows

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.clips.clip_tables import CLIPS, RejectedRow
from slowfast_finetune.comparing.crossval_files import (
    CURVE,
    CrossvalResults,
    CurveRow,
    write_crossval,
)
from slowfast_finetune.evaluation.resampling import interval_of_accuracy
from slowfast_finetune.evaluation.result_rows import Outcome, prediction_rows
from slowfast_finetune.evaluation.result_tables import (
    ClassRow,
    ConfusionRow,
    PredictionRow,
    Predictions,
)
from slowfast_finetune.inspection.counting import imbalance
from slowfast_finetune.inspection.findings import Finding
from slowfast_finetune.pictures.contact_sheets import (
    PLANS,
    contact_sheet,
    data_uri,
    evenly_spaced,
    make_sheets,
    tiled_jpeg,
)
from slowfast_finetune.report import report_page
from slowfast_finetune.report.charts import make_matrix, short, ticks
from slowfast_finetune.report.evidence import Evidence
from slowfast_finetune.report.report_page import MAX_BYTES, compose
from slowfast_finetune.report.results import (
    Estimate,
    VideoResult,
    read_results,
)
from slowfast_finetune.report.run_findings import (
    baseline_findings,
    check_run,
    confused_classes,
    dead_classes,
    miscalibration,
    seen_by_weights,
    shared_groups,
    sure_mistakes,
    uncertainty,
)
from slowfast_finetune.report.run_overview import data_table, sentences
from slowfast_finetune.report.video_order import most_informative, probability_bars, to_explain
from slowfast_finetune.scoring.metrics import bin_sums, calibration_error

THIN = "\u202f"


def prediction(
    actual: str,
    predicted: str,
    confidence: float = 0.8,
    *,
    path: str = "",
    group: str | None = None,
) -> VideoResult:
    """Of the classes a, b and c."""
    rest = (1 - confidence) / 2
    values = tuple(confidence if name == predicted else rest for name in "abc")
    row = PredictionRow(
        video_path=path or f"{actual}{predicted}{confidence}",
        group=group,
        actual=actual,
        predicted=predicted,
        answer=predicted,
        confidence=confidence,
        probability_of_actual=values["abc".index(actual)],
        num_views=1,
    )
    return VideoResult(row, values)


def class_row(name: str, recall: float | None) -> ClassRow:
    return ClassRow(
        class_name=name, precision=0.5, recall=recall, recall_low=None, recall_high=None, f1=0.5,
        num_videos=10,
    )  # fmt: skip


def test_test_videos_that_trained_the_first_weights_are_a_problem(tmp_path: Path) -> None:
    run = write_run(tmp_path, answers("a", {"a": 3, "b": 1}), class_names=["a", "b"])
    results = read_results(run.files)
    seen = {**results.summary["run"][0], "test_videos_seen": 3}
    seen["params"] = {"model": {"weights": "mine.pt"}}
    results = dataclasses.replace(results, summary={**results.summary, "run": [seen]})
    (found,) = seen_by_weights(results)
    assert (found.code, found.level) == ("weights-saw-test", "problem")
    total = len(results.predictions)
    assert found.title.startswith(f"3 of {total} test videos (")
    assert found.detail.startswith("mine.pt was trained on them, or its epoch was chosen by them.")
    seen["test_videos_seen"] = None
    (found,) = seen_by_weights(results)
    assert (found.code, found.level) == ("weights-may-have-seen-test", "note")
    assert found.title == "mine.pt does not say which videos it was trained on"


def codes(findings: Iterable[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def text_of(html: str) -> str:
    """The page as a reader sees it: no tags, no styles, single spaces."""

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.parts: list[str] = []
            self.hidden = 0

        def handle_starttag(self, tag: str, _attributes: object) -> None:
            self.hidden += tag in ("style", "script")

        def handle_endtag(self, tag: str) -> None:
            self.hidden -= tag in ("style", "script")

        def handle_data(self, data: str) -> None:
            if not self.hidden:
                self.parts.append(data)

    reader = Reader()
    reader.feed(html)
    return re.sub(r"\s+", " ", " ".join(reader.parts))


def report_of(run: Run, **options: object) -> str:
    return compose(read_results(run.files), store=run.store, evidence=Evidence(), **options)


# What makes one look


def test_a_model_no_better_than_properties_has_learnt_nothing_beyond() -> None:
    scores = {
        "top1_accuracy": Estimate(0.57, 0.4, 0.7),
        "majority_baseline": Estimate(0.5),
        "metadata_baseline": Estimate(0.8),
        "above_metadata": Estimate(-0.23, -0.4, 0.0),
    }
    (found,) = baseline_findings(scores)
    assert (found.level, found.code) == ("problem", "not-above-metadata")
    assert found.title == (
        f"Accuracy 57{THIN}% is not above 80{THIN}%, that of the file properties alone"
    )


@pytest.mark.parametrize(
    ("accuracy", "majority", "metadata", "low", "expected"),
    [
        (0.5, 0.5, 0.2, 0.1, ["not-above-majority"]),
        (0.9, 0.5, 0.85, -0.02, ["maybe-not-above-metadata"]),
        (0.95, 0.5, 0.76, 0.1, ["metadata-tells-class"]),  # 0.76 is over half of the way to 1
        (0.95, 0.5, 0.74, 0.1, []),
        (0.95, 0.5, 0.74, None, ["maybe-not-above-metadata"]),  # of too few groups
        (0.4, 0.5, 0.6, -0.2, ["not-above-majority", "not-above-metadata"]),
        # Properties that tell no more than a guess are not what is wrong.
        (0.4, 0.5, 0.5, -0.2, ["not-above-majority"]),
    ],
)
def test_comparison_with_what_needs_no_looking(
    accuracy: float, majority: float, metadata: float, low: float | None, expected: list[str]
) -> None:
    scores = {
        "top1_accuracy": Estimate(accuracy),
        "chance_baseline": Estimate(0.25),
        "majority_baseline": Estimate(majority),
        "metadata_baseline": Estimate(metadata),
        "above_metadata": Estimate(accuracy - metadata, low, 0.3),
    }
    assert codes(baseline_findings(scores)) == expected


@pytest.mark.parametrize(
    ("low", "majority", "metadata", "expected"),
    [
        (0.5, 0.5, 0.2, ["maybe-guessing"]),
        (0.51, 0.5, 0.2, []),
        (0.4, 0.2, 0.2, ["maybe-guessing"]),  # guessing alone, of two classes
        (0.4, 0.5, 0.5, ["maybe-guessing"]),
        # The paired difference from the properties, here above 0, tells more than two intervals.
        (0.4, 0.5, 0.55, []),
        (0.4, 0.6, 0.2, ["not-above-majority"]),
    ],
)
def test_an_accuracy_whose_interval_includes_guessing_is_doubted(
    low: float, majority: float, metadata: float, expected: list[str]
) -> None:
    scores = {
        "top1_accuracy": Estimate(0.6, low, 0.7),
        "chance_baseline": Estimate(0.5),
        "majority_baseline": Estimate(majority),
        "metadata_baseline": Estimate(metadata),
        "above_metadata": Estimate(0.6 - metadata, 0.01, 0.3),
    }
    found = [*baseline_findings(scores)]
    assert codes(found) == expected
    if expected == ["maybe-guessing"]:
        who = "guessing" if majority < 0.5 else "always predicting the most frequent class"
        assert found[0].title == (
            f"Accuracy 60{THIN}% is not significantly above 50{THIN}%, that of {who}"
        )


def test_dead_classes_and_those_at_chance() -> None:
    rows = [class_row("a", 0.0), class_row("b", 0.25), class_row("c", 0.26), class_row("d", None)]
    found = dead_classes(rows, num_classes=4)
    assert [(one.code, one.title) for one in found] == [
        ("dead-class", "Never predicted correctly: a"),
        ("class-at-chance", "Recall not above chance: b"),
    ]


LEARNT = {"top1_accuracy": Estimate(0.8), "majority_baseline": Estimate(0.35)}


def confusion_of(counts: dict[tuple[str, str], int]) -> list[ConfusionRow]:
    totals = {name: sum(n for (actual, _), n in counts.items() if actual == name) for name in "abc"}
    return [
        ConfusionRow(
            actual=actual, predicted=predicted, count=counts.get((actual, predicted), 0),
            share=counts.get((actual, predicted), 0) / max(totals[actual], 1),
        )
        for actual in "abc" for predicted in "abc"
    ]  # fmt: skip


def test_a_class_taken_for_another_is_named_with_its_videos_the_surest_first() -> None:
    rows = confusion_of(
        {("a", "a"): 2, ("a", "b"): 18, ("b", "b"): 20, ("c", "c"): 3, ("c", "a"): 3}
    )
    seen = [prediction("a", "b", 0.6, path="x"), prediction("a", "b", 0.9, path="y")]
    (found,) = confused_classes(rows, [*seen, prediction("b", "b")], LEARNT)
    assert found.title == f"90{THIN}% of a is predicted as b: are the labels right?"
    assert found.video_paths == ("y", "x")


def test_a_single_mistaken_video_is_no_pattern() -> None:
    assert list(confused_classes(confusion_of({("a", "b"): 1, ("b", "b"): 5}), [], LEARNT)) == []


def test_mistakes_that_a_coin_would_make_accuse_no_class() -> None:
    # A coin has 6 of 6 in one of 64 cases, 7 of 7 in one of 128; there are six pairs of classes.
    assert list(confused_classes(confusion_of({("a", "b"): 6}), [], LEARNT)) == []
    assert len(list(confused_classes(confusion_of({("a", "b"): 7}), [], LEARNT))) == 1


def test_videos_of_one_group_are_one_case() -> None:
    rows = confusion_of({("a", "b"): 8})
    two_people = [prediction("a", "b", group=str(index % 2), path=str(index)) for index in range(8)]
    assert list(confused_classes(rows, two_people, LEARNT)) == []


def test_model_that_has_learnt_nothing_accuses_no_class() -> None:
    nothing = {"top1_accuracy": Estimate(0.3), "majority_baseline": Estimate(0.35)}
    assert list(confused_classes(confusion_of({("a", "b"): 20}), [], nothing)) == []


def test_guessing_models_are_told_of_wrong_labels_at_most_once_in_twenty() -> None:
    rng = np.random.default_rng(0)
    names = np.array(list("abcdef"))
    actual = np.repeat(names, 16)
    accused = 0
    for _ in range(200):
        pairs = Counter(zip(actual.tolist(), rng.choice(names, 96).tolist(), strict=True))
        rows = [
            ConfusionRow(actual=a, predicted=p, count=pairs[a, p], share=pairs[a, p] / 16)
            for a in names.tolist()
            for p in names.tolist()
        ]
        accused += any(confused_classes(rows, [], LEARNT))
    assert accused <= 10


def test_unequal_classes_show_balanced_accuracy_beside_accuracy() -> None:
    scores = {"accuracy": 0.9, "balanced": 0.5}
    (found,) = imbalance(Counter(a=90, b=10), noun="video", **scores)
    assert found.title == (
        f"Unequal classes: 90{THIN}% of the training videos are a; accuracy 90{THIN}%, "
        f"balanced accuracy 50{THIN}%"
    )
    assert list(imbalance(Counter(a=39, b=10), noun="video", **scores)) == []
    assert list(imbalance(Counter(), noun="video", **scores)) == []


def test_sure_mistakes_are_listed_the_surest_first() -> None:
    wrong = [prediction("a", "b", c) for c in (0.89, 0.9, 0.99)]
    (found,) = sure_mistakes([*wrong, prediction("a", "a", 1.0)])
    assert found.title.startswith("2 wrong predictions")
    assert found.video_paths == ("ab0.99", "ab0.9")
    assert list(sure_mistakes([prediction("a", "a", 1.0), wrong[0]])) == []


def test_labels_are_doubted_where_most_of_the_class_is_predicted_correctly() -> None:
    well = [prediction("a", "a") for _ in range(3)] + [prediction("a", "b", 0.95)]
    badly = [prediction("c", "b", 0.95), prediction("c", "b", 0.5), prediction("c", "c")]
    half = [prediction("b", "b"), prediction("b", "a", 0.95)]
    (found,) = sure_mistakes([*well, *badly, *half])
    assert found.title.startswith("3 wrong predictions")
    assert found.detail.startswith("For 1 of them, more than half of the class is")
    (found,) = sure_mistakes([*badly, *half])
    assert "nothing about the labels" in found.detail


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.91, ["overconfident"]), (0.9, []), (0.7, []), (0.5, []), (0.49, ["underconfident"])],
)
def test_mean_confidence_beside_the_interval_of_the_accuracy(
    confidence: float, expected: list[str]
) -> None:
    # The calibration error is large, as it is of few videos whatever the model.
    scores = {"top1_accuracy": Estimate(0.7, 0.5, 0.9), "calibration_error": Estimate(0.3)}
    assert codes(miscalibration([prediction("a", "a", confidence)], scores)) == expected


def times_miscalibrated(number: int, *, per_group: int, surplus: float) -> float:
    """How often the finding comes in 200 draws of predictions that are right less often than sure.

    All videos of a group are right, or none; ``surplus`` is confidence less probability.
    """
    rng = np.random.default_rng(0)
    units = np.arange(number) // per_group
    found = 0
    for _ in range(200):
        confidence = rng.uniform(0.4, 1, units[-1] + 1)
        right = (rng.random(len(confidence)) < confidence - surplus)[units]
        seen = [
            prediction("a", "a" if is_right else "b", sure)
            for is_right, sure in zip(right, confidence[units], strict=True)
        ]
        (error,) = calibration_error(bin_sums(confidence[units], right), np.array([number]))
        scores = {
            "top1_accuracy": Estimate(right.mean(), *interval_of_accuracy(right, units)),
            "calibration_error": Estimate(error),
        }
        found += any(miscalibration(seen, scores))
    return found / 200


@pytest.mark.parametrize(("number", "per_group"), [(20, 1), (100, 1), (100, 5)])
def test_calibrated_models_are_told_of_miscalibration_at_most_once_in_twenty(
    number: int, per_group: int
) -> None:
    assert times_miscalibrated(number, per_group=per_group, surplus=0) <= 0.05


def test_models_that_are_right_less_often_than_sure_are_told() -> None:
    assert times_miscalibrated(100, per_group=1, surplus=0.2) >= 0.9


def test_too_few_videos_and_too_few_groups() -> None:
    many = [prediction("a", "a", group=str(index)) for index in range(20)]
    wide, narrow = Estimate(0.7, 0.4, 0.9), Estimate(0.7, 0.65, 0.75)
    assert codes(uncertainty(many, {"top1_accuracy": wide})) == ["too-few-videos"]
    assert codes(uncertainty(many, {"top1_accuracy": narrow})) == []
    both = ["too-few-videos", "too-few-groups"]
    assert codes(uncertainty(many[1:], {"top1_accuracy": wide})) == both
    (found,) = uncertainty(many[1:] * 2, {"top1_accuracy": narrow})
    assert (found.code, found.title) == (
        "too-few-groups",
        "With only 19 groups, confidence intervals are too narrow",
    )


def test_groups_on_both_sides() -> None:
    train = make_rows(1, group="cam 1") + make_rows(1, group=None)
    test = make_rows(1, split="test", group="cam 2") + make_rows(1, split="test", group=None)
    assert list(shared_groups([*train, *test])) == []
    both = make_rows(1, split="test", group="cam 1", video_path="there")
    (found,) = shared_groups([*train, *test, *both])
    assert (found.level, found.video_paths) == ("problem", ("there",))
    assert found.title.endswith("cam 1")


# Data made to mislead, measured by the real measurement


def test_class_written_in_the_resolution(tmp_path: Path) -> None:
    large = {"source_width": 1920, "source_height": 1080}
    small = {"source_width": 640, "source_height": 480}
    run = write_run(
        tmp_path,
        [
            *answers("hit", {"hit": 12, "miss": 8}, changes=large),
            *answers("miss", {"miss": 11, "hit": 9}, changes=small),
        ],
        class_names=["hit", "miss"],
        num_train=20,
        train_changes={"hit": large, "miss": small},
    )
    text = text_of(report_of(run)).replace(THIN, " ")
    assert "Accuracy 57.5 % is not above 100 %, that of the file properties alone" in text


def test_imbalance_of_nine_to_one(tmp_path: Path) -> None:
    run = write_run(
        tmp_path,
        [*answers("calm", {"calm": 18}), *answers("fight", {"calm": 2})],
        class_names=["calm", "fight"],
        num_train={"calm": 90, "fight": 10},
    )
    text = text_of(report_of(run)).replace(THIN, " ")
    assert "90 % of the training videos are calm; accuracy 90 %, balanced accuracy 50 %" in text
    assert "Never predicted correctly: fight" in text
    assert (
        "Accuracy 90 % is not above 90 %, that of always predicting the most frequent class" in text
    )


def test_class_labelled_as_another(tmp_path: Path) -> None:
    run = write_run(
        tmp_path,
        [
            *answers("jump", {"run": 18, "jump": 1}, confidence=0.95),
            *answers("run", {"run": 19}),
        ],
        class_names=["jump", "run"],
    )
    html = report_of(run)
    text = text_of(html).replace(THIN, " ")
    assert "94.7 % of jump is predicted as run: are the labels right?" in text
    assert "18 wrong predictions with a confidence of at least 90 %" in text


@pytest.mark.parametrize("code", ["mislabelled", "copies-across-splits"])
def test_findings_of_the_inspection_are_shown_the_gravest_on_top(code: str, tmp_path: Path) -> None:
    run = write_run(
        tmp_path, answers("a", {"a": 30, "b": 2}, confidence=0.97), class_names=["a", "b"]
    )
    grave = Finding("problem", code, f"title of {code}", "what to do", ("videos/a/test_0.mp4",))
    html = report_of(run, findings=[Finding("note", "small", "a remark", "-"), grave])
    text = text_of(html)
    assert "what to do" in text
    assert "1 video videos/a/test_0.mp4" in text
    levels = re.findall(r'<p class="level">(\w+)', html)
    assert levels == sorted(levels, key=["problem", "warning", "note"].index)
    assert (
        text.index(f"title of {code}") < text.index("2 wrong predictions") < text.index("a remark")
    )


def test_what_the_report_knows_better_is_said_once(tmp_path: Path) -> None:
    run = write_run(
        tmp_path, answers("a", {"a": 4}), class_names=["a", "b"], num_train={"a": 50, "b": 2}
    )
    given = [Finding("warning", "imbalance", "seen before training", "-")]
    text = text_of(report_of(run, findings=given))
    assert "Unequal classes" in text
    assert "seen before training" not in text


def test_scenes_seen_and_unseen_are_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path, answers("a", {"a": 3, "b": 1}), class_names=["a", "b"])
    pairs = "videos/a/test_0.mp4", "t0.mp4", "videos/a/test_1.mp4", "videos/a/test_2.mp4"
    seen = Finding("warning", "seen-scenes", "scenes were trained on", "-", pairs)
    text = text_of(report_of(run, findings=[seen])).replace(THIN, " ")
    assert re.search(r"scenes seen in training 100 % 2 videos", text)
    assert (
        "2 test videos, and the training video that each matches videos/a/test_0.mp4: t0.mp4 "
        "videos/a/test_1.mp4: videos/a/test_2.mp4"
    ) in text
    assert re.search(r"scenes never seen 50 % 2 videos", text)
    assert "scenes never seen" not in text_of(report_of(run))
    every = [path for n in range(4) for path in (f"videos/a/test_{n}.mp4", "t0.mp4")]
    seen = Finding("warning", "seen-scenes", "scenes were trained on", "-", tuple(every))
    page = text_of(report_of(run, findings=[seen]))
    assert "scenes seen in training" not in page, "it is the accuracy again"
    assert "Subsets" not in page


# Verdict


def test_verdict_says_how_good_how_certain_and_above_what(tmp_path: Path) -> None:
    tests = [*answers("a", {"a": 8, "b": 2}), *answers("b", {"b": 10})]
    results = read_results(write_run(tmp_path, tests, class_names=["a", "b"]).files)
    baselines = {
        "metadata_baseline": Estimate(0.5),
        "above_metadata": Estimate(0.4, 0.25, 0.5),
    }
    results = dataclasses.replace(results, scores={**results.scores, **baselines})
    first, second, third = (text.replace(THIN, " ") for text in sentences("result", results))
    assert first.startswith("18 of 20 test videos are classified correctly. For new videos of ")
    assert first.endswith("The test videos come from 10 groups.")
    assert "guessing 50 %" in second
    assert second.endswith(
        "exceeds the highest of these, file properties alone, by 40 percentage points (95 % "
        "confidence interval 25 to 50 percentage points)."
    )
    for majority, end in (
        (0.65, "exceeds the highest of these, most frequent class, by 25 percentage points."),
        (0.9, "does not exceed the highest of these, most frequent class."),
    ):
        other = {**results.scores, "majority_baseline": Estimate(majority)}
        second = sentences("result", dataclasses.replace(results, scores=other))[1]
        assert second.replace(THIN, " ").endswith(f"The accuracy of the model {end}")
    assert third == "The lowest recall is that of a: 80 % of 10 videos, most often predicted as b."


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"changed": 2, "dropped": 0}, "2 of 20 test labels were changed"),
        ({"changed": 0, "dropped": 1}, "1 test video was dropped"),
        (
            {"changed": 1, "dropped": 3},
            "1 of 20 test labels was changed and 3 test videos were dropped",
        ),
    ],
)
def test_test_labels_that_were_changed_are_told(
    counts: dict[str, int], expected: str, tmp_path: Path
) -> None:
    tests = [*answers("a", {"a": 8, "b": 2}), *answers("b", {"b": 10})]
    run = write_run(tmp_path, tests, class_names=["a", "b"])
    told = len(sentences("result", read_results(run.files)))
    run.files.clips.with_name("relabelled.json").write_text(json.dumps(counts))
    found = sentences("result", read_results(run.files))
    assert len(found) == told + 1
    assert found[1].replace(THIN, " ") == (
        f"At the label desk, which shows predictions, {expected}: this flatters the accuracy."
    )


def test_tables_of_two_runs_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, [*answers("a", {"a": 3, "b": 2})], class_names=["a", "b"])
    good = {path: path.read_text() for path in tmp_path.rglob("*.csv")}
    metrics, params = tmp_path / "metrics", tmp_path / "params.yaml"

    def refused(path: Path, old: str, new: str) -> str:
        whole = path.read_text()
        assert old in whole
        path.write_text(whole.replace(old, new))
        with pytest.raises(DataError) as caught:
            read_results(run.files)
        path.write_text(good.get(path, whole))
        return str(caught.value)

    table = metrics / "predictions.csv"
    last_line = good[table].splitlines()[-1] + "\n"
    assert "has 4 videos" in refused(table, last_line, "")
    assert "top1_accuracy is 0.6, 5 of 5 rows" in refused(table, ",a,b,b,", ",a,a,a,")
    assert "does not count" in refused(metrics / "plots/confusion.csv", "a,b,2", "a,b,1")
    assert "section train: is not what" in refused(params, "learning_rate: ", "learning_rate: 1")
    read_results(run.files)


def test_verdict_tells_how_often_it_answers(tmp_path: Path) -> None:
    tests = [Answer("a", "a", 0.9), Answer("a", "b", 0.6), Answer("b", "b", 0.9)]
    run = write_run(tmp_path, tests, class_names=["a", "b"], threshold=0.8)
    results = read_results(run.files)
    last = sentences("result", results)[-1].replace(THIN, " ")
    assert last == (
        "The model answers for 66.7 % of the videos; 100 % of its answers are correct (95 % "
        "confidence interval 34.2 % to 100 %)."  # Wilson's: 2 / (2 + 1.96²)
    )
    strange = [
        dataclasses.replace(video, row=video.row._replace(novelty=novelty))
        for video, novelty in zip(results.predictions, (0.5, 1.5, 0.5), strict=True)
    ]
    told = sentences("result", dataclasses.replace(results, predictions=strange))[-1]
    assert "videos (of the others 1 is unlike the training videos, 0 between classes); " in told


def test_a_probe_is_told_without_epochs(tmp_path: Path) -> None:
    run = write_run(
        tmp_path, [Answer("a", "a", 0.9), Answer("b", "b", 0.9)], class_names=["a", "b"]
    )
    path = tmp_path / "metrics/train.json"
    summary = json.loads(path.read_text())
    probe = {"method": "probe", "penalty": 0.3, "penalties": 7, "folds": 5, "fitted_videos": 12}
    summary["run"] = [{**summary["run"][0], **probe}]
    path.write_text(json.dumps(summary))
    (told,) = sentences("training", read_results(run.files))
    assert "fitted, to features of 12 training" in told
    assert "7 penalties tried by 5-fold cross-validation" in told.replace(THIN, " ")
    assert "Penalty 0.3 is kept" in told
    assert "poch" not in told
    page = report_of(run)
    assert "· probe" in page
    assert "epoch" not in page.split('id="h-curves"')[1].split("</section>")[0]


def test_the_loss_of_the_best_epoch_is_rounded_as_in_the_log(tmp_path: Path) -> None:
    """1.80149 is 1.801 to three decimals; train.json has 1.8015, which is 1.802."""
    results = read_results(write_run(tmp_path, answers("a", {"a": 2}), class_names=["a"]).files)
    history = [row._replace(val_loss=1.80149, val_accuracy=0.50049) for row in results.history]
    summary = {**results.summary, "best_val_loss": 1.8015, "best_val_accuracy": 0.5005}
    results = dataclasses.replace(results, history=history, summary=summary)
    told = " ".join(sentences("training", results)).replace(THIN, " ")
    assert "Epoch 3 is kept, which has the lowest validation loss (1.801, accuracy 50 %)" in told


PROBES = "bbbbaabbbbaa"  # what probes say of the six videos of a, then of b
CURVE_ROWS = [CurveRow(0.1, 2, 0.25, 0.1, 0.5), CurveRow(0.5, 8, 0.4, 0.2, 0.7),
              CurveRow(1, 32, 0.5, 0.25, 0.75)]  # fmt: skip


def cross_validated_run(folder: Path, *, method: str = "finetune") -> Run:
    """Six test videos of a and of b, of which the model has 11 right, and the probes 2 and 4."""
    tests = [*answers("a", {"a": 6}), *answers("b", {"a": 1, "b": 5})]
    run = write_run(folder, tests, class_names=["a", "b"], num_train=1)
    names = {"model": {"name": "slowfast_r50", "weights": "kinetics400"}}
    params = yaml.safe_load(run.files.params.read_text())
    run.files.params.write_text(yaml.safe_dump(params | names))
    path = folder / "metrics/train.json"
    summary = json.loads(path.read_text())
    summary["run"][0] |= {"method": method, "params": names}
    path.write_text(json.dumps(summary))
    tested = [
        Answer(row.class_name, said) for row, said in zip(run.clips, "ab" + PROBES, strict=True)
    ]
    outcome = Outcome(run.clips, probabilities(tested, ["a", "b"]), [], 0.0)
    rows = prediction_rows(outcome, ["a", "b"], num_views=1)
    frame = pd.DataFrame(rows).assign(**{"p(a)": 0.5, "p(b)": 0.5})
    found = CrossvalResults(
        Predictions("all", ("a", "b"), frame),
        CURVE_ROWS,
        "slowfast_r50, kinetics400",
        "More!\nWarning: doubt.",
    )
    write_crossval(folder / "metrics", found, run.clips)
    return run


def test_cross_validation_is_shown_with_its_curve_and_what_fine_tuning_adds(tmp_path: Path) -> None:
    page = report_of(cross_validated_run(tmp_path))
    section = page.split('id="h-crossval"')[1].split("</section>")[0]
    told = text_of("<p>" + section).replace(THIN, " ")
    assert "Each of the 14 videos tested once" in told
    assert "features of slowfast_r50, kinetics400: 57.1 % classified correctly" in told
    # 8 of all 14 by the probes; of the 12 of the test split 6, and 11 by the model.
    assert '>More!</p>\n<p class="lead">Warning: doubt.</p>' in section
    assert "Warning: doubt. On the same 12 test videos fine-tuning adds +0.417 (95 % conf" in told
    assert "to the accuracy of the probe, 0.500" in told
    # 2, 8 and 32 videos are as far from each other on a logarithmic axis, 52 to 446 px.
    assert re.findall(r'<circle class="dot" cx="([\d.]+)"', section) == ["52.0", "249.0", "446.0"]
    assert section.count('class="whisker"') == 3
    assert 'href="#crossval"' in page


def test_a_probe_is_not_said_to_be_fine_tuned(tmp_path: Path) -> None:
    results = read_results(cross_validated_run(tmp_path, method="probe").files)
    assert results.crossval_texts == ["More!", "Warning: doubt."]


def test_cross_validation_of_other_videos_is_left_out_with_a_line(tmp_path: Path) -> None:
    run = cross_validated_run(tmp_path)
    clips = [row._replace(content_hash="f" * 32) for row in run.clips[:1]] + run.clips[1:]
    CLIPS.write(run.files.clips, clips)
    page = text_of(report_of(run))
    assert "Left out:" in page
    assert "crossval.json: is of other videos" in page
    assert "More!" not in page
    CLIPS.write(run.files.clips, [run.clips[0]._replace(split="val"), *run.clips[1:]])
    assert "More!" in text_of(report_of(run)), "a video's split does not matter"
    (tmp_path / "metrics" / "learning_curve.csv").unlink()
    assert "learning_curve.csv: cannot be read" in text_of(report_of(run))
    CURVE.write(tmp_path / "metrics" / "learning_curve.csv", CURVE_ROWS)
    summary = tmp_path / "metrics" / "crossval.json"
    summary.write_text(summary.read_text().replace("kinetics400", "models/best.pt"))
    assert "is of slowfast_r50, models/best.pt, not of slowfast_r50, kinetics400" in text_of(
        report_of(run)
    )
    (tmp_path / "metrics" / "crossval.json").unlink()
    assert 'id="crossval"' not in report_of(run)


def test_a_sound_run_is_not_accused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tests = [
        Answer(name, name, float(0.97 + 0.02 * rng.random()))
        for name in "ab"
        for _ in range(60)
    ]  # fmt: skip
    run = write_run(tmp_path, tests, class_names=["a", "b"])
    assert check_run(read_results(run.files)) == []
    assert "No findings in the data or the predictions" in text_of(report_of(run))


# The page


def test_names_that_are_code_stay_text(tmp_path: Path) -> None:
    nasty = ["</script><script>alert(1)</script>", "a\"b'c&d", "Ünïcode\n行"]
    tests = [
        Answer(nasty[0], nasty[1], 0.95, {"group": "<b>g</b>", "video_path": '"><img src=x>.mp4'}),
        Answer(nasty[1], nasty[1]),
        Answer(nasty[2], nasty[2]),
    ]
    rejected = [
        RejectedRow(
            video_path="<i>bad</i>", class_name=nasty[0], split="test", content_hash="0" * 32,
            reason="no_frames", detail="<u>not one</u> frame",
        )
    ]  # fmt: skip
    run = write_run(tmp_path, tests, class_names=nasty, rejected=rejected)
    html = report_of(run, findings=[Finding("note", "x", "<h1>t</h1>", "<p>d", ("<a>",))])
    for code in (
        "<script>alert",
        "<img src=x>",
        "<b>g</b>",
        "<i>bad",
        "<u>not",
        "<h1>t",
        "<p>d",
        "<a>",
    ):
        assert code not in html, code
    assert html.count("<script") == html.count("</script>") == 2, "ours"
    text = text_of(html)
    assert "<script>alert(1)</script>" in text
    assert "<u>not one</u> frame" in text


def test_the_page_shows_what_the_files_say(tmp_path: Path) -> None:
    rejected = [
        RejectedRow(
            video_path=f"videos/a/{index}.mp4", class_name="a", split="train",
            content_hash="0" * 32, reason=reason, detail="a sentence",
        )
        for index, reason in enumerate(["empty_file", "no_frames", "no_frames"])
    ]  # fmt: skip
    run = write_run(
        tmp_path, [*answers("a", {"a": 3}), *answers("b", {"a": 1, "b": 2})],
        class_names=["a", "b"], rejected=rejected,
    )  # fmt: skip
    html = report_of(run)
    text = text_of(html).replace(THIN, " ")
    assert "83.3 % of the test videos classified correctly" in text
    assert "14 usable videos" in text
    assert "3 rejected" in text
    assert text.index("no_frames 2") < text.index("empty_file 1")
    assert "b predicted as a: 1 of 3 videos, 33.3 %" in text
    assert "git checkout 0123456789abcdef\n" in html
    assert "files differed from that commit" in text
    assert "torch 9.9" in text
    assert "clip:\n" in html, "params.yaml in full"
    assert html.count('<article class="card') == 6 + 1 + 6, (
        "each video once, one mistake, the least certain"
    )


def test_a_class_of_which_every_video_was_rejected_has_a_row(tmp_path: Path) -> None:
    gone = RejectedRow("videos/c/0.mp4", "c", "train", "0" * 32, "no_frames", "a sentence")
    run = write_run(tmp_path, answers("a", {"a": 3}), class_names=["a", "b"], rejected=[gone])
    rows = {row["name"]: row for row in data_table(read_results(run.files))}
    assert list(rows) == ["a", "b", "c", "all"]
    assert (rows["a"]["counts"], rows["a"]["rejected"]) == ([4, 0, 3], 0)
    assert (rows["c"]["counts"], rows["c"]["rejected"]) == ([0, 0, 0], 1)
    # Three test videos of two people, and eight training videos of their own.
    assert (rows["all"]["counts"], rows["all"]["groups"]) == ([8, 0, 3], 10)


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    html = report_of(write_run(tmp_path, answers("a", {"a": 2}), class_names=["a", "b"]))
    addresses = re.findall(r"""(?:src|href|action|poster)\s*=\s*["']([^"']*)""", html)
    addresses += re.findall(r"url\(([^)]*)\)", html)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "default-src 'none'" in html


@pytest.mark.parametrize(
    "name", ["scores.csv", "predictions.csv", "plots/confusion.csv", "train.json"]
)
def test_a_missing_file_is_one_clear_line(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path, answers("a", {"a": 2}), class_names=["a"])
    (run.files.folder / name).unlink()
    with pytest.raises(DataError, match=re.escape(name)):
        read_results(run.files)


def test_files_of_different_runs_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, answers("a", {"a": 2}), class_names=["a", "b"])
    clips = run.files.clips
    clips.write_text(clips.read_text().replace("test_1.mp4", "test_9.mp4"))
    with pytest.raises(DataError, match=r"test_1\.mp4 is no test video of .*clips\.csv"):
        read_results(run.files)


def test_predictions_of_a_class_without_a_column_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, answers("a", {"a": 2}), class_names=["a", "b"])
    path = run.files.folder / "predictions.csv"
    path.write_text(path.read_text().replace("p(a)", "p(x)"))
    with pytest.raises(DataError, match=r"column p\(a\) is missing"):
        read_results(run.files)


def test_everything_the_page_is_made_of_is_a_dependency_of_its_stage() -> None:
    stage = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["report"]
    assert "src/slowfast_finetune/report/" in stage["deps"]


# Size


@pytest.mark.slow
def test_a_thousand_noisy_videos_fit_with_all_their_sheets(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    tests = [Answer(names[i % 3], names[i % 7 % 3], 0.4 + i % 50 / 100) for i in range(1000)]
    run = write_run(tmp_path, tests, class_names=names, noise=True)
    html = report_of(run)
    assert len(html.encode()) < MAX_BYTES
    sheets = re.findall(r'<img class="sheet"', html)
    assert len(sheets) == 1000 + 12 + 12
    assert "no contact sheet" not in html


@pytest.mark.slow
def test_what_does_not_fit_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = [*answers("a", {"a": 18, "b": 2}), *answers("b", {"b": 20})]
    run = write_run(tmp_path, tests, class_names=["a", "b"], noise=True)
    one = len(
        data_uri(contact_sheet(report_page.stored_frames(run.store, run.clips[-1], 3), PLANS[-1]))
    )
    monkeypatch.setattr(report_page, "SHEET_BYTES", 10 * one)
    text = text_of(report_of(run))
    left_out = re.search(r"Contact sheets of (\d+) videos are left out", text)
    assert left_out
    assert 29 <= int(left_out.group(1)) <= 31
    monkeypatch.setattr(report_page, "LIMITS", report_page.LIMITS[-1:])
    assert re.search(r"this page shows 2\d of 40 videos", text_of(report_of(run)))


@pytest.mark.slow
def test_a_page_that_is_too_long_is_made_again_with_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path, answers("a", {"a": 120}), class_names=["a", "b"])
    monkeypatch.setattr(report_page, "LIMITS", report_page.LIMITS[-2:])
    whole = len(report_of(run).encode())
    monkeypatch.setattr(report_page, "MAX_BYTES", whole - 1)
    assert len(report_of(run).encode()) < whole


def test_sheets_take_the_best_plan_that_fits_and_serve_the_first_when_none_does() -> None:
    rng = np.random.default_rng(0)
    videos = {str(i): rng.integers(0, 256, (9, 48, 64, 3), np.uint8) for i in range(6)}

    def frames(key: str, num_frames: int) -> npt.NDArray[np.uint8]:
        chosen = np.linspace(0, 8, num_frames).round().astype(int)
        return np.stack([videos[key][index] for index in chosen])

    totals = [
        sum(len(data_uri(contact_sheet(frames(key, plan.num_frames), plan))) for key in videos)
        for plan in PLANS
    ]
    assert totals == sorted(totals, reverse=True)
    for plan, total in zip(PLANS, totals, strict=True):
        made = make_sheets(list(videos), frames, max_bytes=total)
        assert len(made) == len(videos)
        uri = data_uri(contact_sheet(frames("3", plan.num_frames), plan))
        assert made["3"] == (uri, plan)
    made = make_sheets(list(videos), frames, max_bytes=totals[-1] // 2)
    assert len(made) < len(videos)
    assert list(made) == list(videos)[: len(made)]
    assert make_sheets([], frames, max_bytes=0) == {}


def test_a_sheet_is_read_row_by_row_and_keeps_the_shape_of_a_picture() -> None:
    import io

    from PIL import Image

    shades = np.array([0, 80, 160, 240], np.uint8)
    pictures = np.broadcast_to(shades[:, None, None, None], (4, 40, 20, 3))
    sheet = Image.open(io.BytesIO(tiled_jpeg(pictures, columns=2, height=20, quality=90)))
    assert sheet.size == (2 * 10 + 2, 2 * 20 + 2)
    middles = [sheet.convert("L").getpixel((x, y)) for y in (10, 32) for x in (5, 17)]
    assert middles == pytest.approx(shades.tolist(), abs=6)


def test_frames_are_spread_from_first_to_last() -> None:
    assert evenly_spaced(10, 4) == [0, 3, 6, 9]
    assert evenly_spaced(1, 3) == [0, 0, 0]


# Order and shape of what is shown


def test_most_informative_first() -> None:
    right = [prediction("a", "a", 0.9), prediction("a", "a", 0.7), prediction("b", "b", 0.6)]
    wrong = [prediction("a", "b", 0.5), prediction("b", "c", 0.8)]
    order = [one.row.video_path for one in most_informative([*right, *wrong])]
    assert order == ["bc0.8", "ab0.5", "aa0.7", "bb0.6", "aa0.9"]


def test_clips_to_explain_are_sure_mistakes_and_the_surest_hit_of_each_class() -> None:
    wrong = [prediction("a", "b", c) for c in (0.5, 0.6, 0.7, 0.8)]
    right = [prediction(name, name, c) for name in "abc" for c in (0.75, 0.95)]

    def chosen(predictions: list[VideoResult], limit: int) -> list[str]:
        return [one.row.video_path for one in to_explain(predictions, limit=limit)]

    hits = ["aa0.95", "bb0.95", "cc0.95"]
    assert chosen([*wrong, *right], 4) == ["ab0.8", "ab0.7", "aa0.95", "bb0.95"]
    assert chosen([*wrong, *right], 6) == ["ab0.8", "ab0.7", "ab0.6", *hits]
    assert chosen([*wrong, *right], 12) == ["ab0.8", "ab0.7", "ab0.6", "ab0.5", *hits]
    assert chosen([wrong[0], *right], 12) == ["ab0.5", *hits]
    assert chosen(right, 2) == hits[:2]


def test_the_actual_class_is_always_among_the_bars() -> None:
    names = [f"c{index}" for index in range(9)]
    values = (0.3, 0.2, 0.15, 0.12, 0.1, 0.06, 0.04, 0.02, 0.01)
    row = prediction("a", "a").row._replace(actual="c8", predicted="c0")
    bars = probability_bars(VideoResult(row, values), names)
    assert bars == [("c0", 0.3), ("c1", 0.2), ("c2", 0.15), ("c8", 0.01)]


def test_matrix_cells_and_where_it_starts() -> None:
    rows = confusion_of({("a", "a"): 8, ("a", "b"): 2, ("b", "b"): 3, ("c", "a"): 3, ("c", "c"): 1})
    matrix = make_matrix(rows, list("abc"), max_classes=10)
    assert [[cell and cell.count for cell in row] for row in matrix.rows] == [
        [8, 2, None],
        [None, 3, None],
        [3, None, 1],
    ]
    assert matrix.cells[0].id == "2-0", "the most frequent mistake"
    cell = matrix.rows[0][1]
    assert cell is not None
    assert (cell.actual, cell.predicted, cell.count, cell.share) == ("a", "b", 2, 0.2)


def test_a_matrix_of_too_many_classes_keeps_those_with_mistakes() -> None:
    rows = confusion_of({("a", "a"): 8, ("b", "c"): 2, ("c", "c"): 3})
    matrix = make_matrix(rows, list("abc"), max_classes=2)
    assert list(matrix.names) == ["b", "c"]
    assert matrix.num_classes == 3
    assert matrix.cells[0].id == "1-2", "ids count all classes"


def test_numbers_at_ticks_are_those_of_the_ticks() -> None:
    assert [short(value) for value in (0.0, 0.5, 2e-5, 1.5e-5, 1200.0)] == [
        "0", "0.5", "2e-5", "1.5e-5", "1200"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 20, [0, 5, 10, 15, 20]),
        (0, 0.0021, [0, 0.0005, 0.001, 0.0015, 0.002, 0.0025]),
        (3, 3, [3, 4]),
    ],
)
def test_ticks_are_round_and_cover_the_values(
    low: float, high: float, expected: list[float]
) -> None:
    assert ticks(low, high) == pytest.approx(expected)
