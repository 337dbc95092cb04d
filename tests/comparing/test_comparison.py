"""Two models on the same videos: answers worked out by hand, laws, and two revisions."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import COMMAND, Done, run_here

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.tables import csv_text
from slowfast_finetune.comparing.comparison import (
    Comparison,
    compare,
    describe,
    verdict,
    videos_needed,
)
from slowfast_finetune.comparing.sources import REQUIRED, read_predictions
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, Predictions

CLASSES = ("jump", "wave")
HEADER = "video_path,group,actual,predicted,p(jump),p(wave)\n"


def answers(
    actual: str,
    predicted: str,
    *,
    probabilities: Sequence[float] | None = None,
    groups: Sequence[str | None] | None = None,
    source: str = "a",
) -> Predictions:
    """One letter a video: j for jump, w for wave."""
    names = {"j": "jump", "w": "wave"}
    shares = probabilities or [0.5] * len(actual)
    cells = [
        (f"video {i}", group, names[was], names[said], *((p, 1 - p) if was == "j" else (1 - p, p)))
        for i, (group, was, said, p) in enumerate(
            zip(groups or [None] * len(actual), actual, predicted, shares, strict=True)
        )
    ]
    return parsed(csv_text([HEADER.strip().split(","), *cells]), source=source)


def parsed(text: str, *, source: str) -> Predictions:
    frame = PREDICTIONS.parse(io.StringIO(text, newline=""), source=source, required=REQUIRED)
    return Predictions.of(frame, source=source)


def rows(comparison: Comparison) -> dict[str, tuple[float, float, float]]:
    return {row.score: (row.a, row.b, row.difference) for row in comparison.differences}


def test_scores_and_differences_by_hand() -> None:
    a = answers("jjjw", "jwww", probabilities=[0.5, 0.25, 0.25, 1.0])
    b = answers("jjjw", "jjww", probabilities=[0.5, 0.5, 0.5, 0.0])
    found = compare(a, b)
    # A has 2 of 4; recall 1/3 and 1. B has 3 of 4; recall 2/3 and 1.
    assert rows(found)["top1_accuracy"] == pytest.approx((0.5, 0.75, 0.25))
    assert rows(found)["macro_recall"] == pytest.approx((2 / 3, 5 / 6, 1 / 6))
    # ln 2 · (1 + 2 + 2 + 0) / 4; ln 2 · 3 / 4, and the zero costs -ln 5e-7 = 14.5087 once.
    assert rows(found)["loss"] == pytest.approx((0.8664, 4.1470, 3.2806), abs=1e-4)
    assert (found.only_a, found.only_b, found.p_value) == (0, 1, 1.0)
    assert (found.num_videos, found.num_units) == (4, 4)


def test_mcnemar_by_hand() -> None:
    a = answers("j" * 12, "j" * 3 + "w" * 9)
    b = answers("j" * 12, "wjj" + "j" * 9)
    found = compare(a, b)
    assert (found.only_a, found.only_b) == (1, 9)
    # Ten flips of a coin show at most 1 head or at least 9: 2 · (1 + 10) / 1024.
    assert found.p_value == pytest.approx(22 / 1024)


def test_interval_is_that_of_the_binomial_distribution() -> None:
    # B alone has 20 of 100: the resampled difference is Binomial(100, 0.2) / 100, whose 2.5 % and
    # 97.5 % points are 12 and 28 (tables).
    top1 = compare(answers("j" * 100, "w" * 100), answers("j" * 100, "j" * 20 + "w" * 80))
    row = top1.differences[0]
    assert row.low == pytest.approx(0.12, abs=0.011)
    assert row.high == pytest.approx(0.28, abs=0.011)


def test_copies_in_groups_tell_nothing_new() -> None:
    """Each video twice, both in one group: the same interval as of the half."""
    rng = np.random.default_rng(1)
    actual, predicted_a, predicted_b = ("".join(rng.choice(["j", "w"], 40)) for _ in range(3))
    once = compare(answers(actual, predicted_a), answers(actual, predicted_b))
    groups = [f"group {index}" for index in range(40)] * 2
    twice = compare(
        answers(actual * 2, predicted_a * 2, groups=groups),
        answers(actual * 2, predicted_b * 2, groups=groups),
    )
    assert (twice.num_videos, twice.num_units) == (80, 40)
    for one, two in zip(once.differences, twice.differences, strict=True):
        assert (one.difference, one.low, one.high) == pytest.approx(
            (two.difference, two.low, two.high)
        )
    apart = compare(answers(actual * 2, predicted_a * 2), answers(actual * 2, predicted_b * 2))
    assert apart.differences[0].low > once.differences[0].low


def test_a_model_does_not_differ_from_itself() -> None:
    same = compare(answers("jjwwjw", "jwwwjw"), answers("jjwwjw", "jwwwjw"))
    assert all((r.difference, r.low, r.high) == (0, 0, 0) for r in same.differences)
    assert (same.only_a, same.only_b, same.p_value) == (0, 0, 1.0)
    assert verdict(same) == "no significant difference: top-1 +0.000 [+0.000, +0.000]"


def test_swapping_flips_the_signs() -> None:
    a = answers("jjjjwwww", "jwjwwwww", probabilities=[0.9, 0.2, 0.8, 0.1, 0.6, 0.7, 0.8, 0.9])
    b = answers("jjjjwwww", "jjjjwwjw")
    one, other = compare(a, b), compare(b, a)
    for row, mirrored in zip(one.differences, other.differences, strict=True):
        assert row.difference == -mirrored.difference
        assert (row.low, row.high) == pytest.approx((-mirrored.high, -mirrored.low))
    assert (one.only_a, one.only_b) == (other.only_b, other.only_a)
    assert one.p_value == other.p_value


def test_the_order_of_the_videos_does_not_matter() -> None:
    a, b = answers("jjww", "jwww"), answers("jjww", "jjwj")
    back = replace(b, frame=b.frame[::-1].reset_index(drop=True))
    assert compare(a, back) == compare(a, b)


def test_same_runs_same_interval() -> None:
    a, b = answers("j" * 30, "j" * 20 + "w" * 10), answers("j" * 30, "w" * 7 + "j" * 23)
    assert compare(a, b) == compare(a, b)


def compared(*, only_a: int, only_b: int, count: int = 100) -> Comparison:
    a = answers("j" * count, "j" * only_a + "w" * only_b + "j" * (count - only_a - only_b))
    b = answers("j" * count, "w" * only_a + "j" * (count - only_a))
    return compare(a, b)


def test_verdict() -> None:
    assert verdict(compared(only_a=2, only_b=20)).startswith("B is better: top-1 +0.180 [+0.")
    assert verdict(compared(only_a=20, only_b=2)).startswith("A is better: top-1 -0.180 [-0.")
    # √0.3 = 0.547723 and √0.29 = 0.538516: ((1.959964 · 0.547723 + 0.841621 · 0.538516) / 0.1)²
    # = 15.26744² = 233.1.
    unclear = compared(only_a=11, only_b=19)
    assert verdict(unclear).startswith("no significant difference: top-1 +0.080 [-0.")
    assert videos_needed(compared(only_a=10, only_b=20)) == 234
    assert f"about {videos_needed(unclear):,} test videos are needed" in verdict(unclear)


def test_few_videos_between_two_models_are_not_called_a_result() -> None:
    # 5 heads of 5 flips: p = 2 / 32; the bootstrap alone would see a difference.
    few = compared(only_a=0, only_b=5)
    assert few.differences[0].low > 0
    assert few.p_value == pytest.approx(1 / 16)
    assert verdict(few).startswith("no significant difference: top-1 +0.050")
    assert verdict(few).endswith("the models differ in only 5 videos")


def test_groups_promise_no_number_of_videos() -> None:
    groups = [f"group {index // 2}" for index in range(16)]
    found = compare(
        answers("jjjjwwww" * 2, "jwjwwwww" * 2, groups=groups),
        answers("jjjjwwww" * 2, "jjjwwwjw" * 2, groups=groups),
    )
    assert "are needed" not in verdict(found)
    text = describe(found, a="one", b="two")
    assert "16 videos in 8 groups, resampled by group; only A correct: 2, only B correct: 2" in text
    assert "with only 8 groups, confidence intervals are too narrow" in text


def test_of_five_groups_there_is_no_interval_and_no_better_model() -> None:
    groups = [f"group {index // 20}" for index in range(100)]
    a, b = (answers("j" * 100, guess * 100, groups=groups) for guess in "wj")
    found = compare(a, b)
    assert found.p_value < 1e-6, "which assumes independent videos"
    assert {(row.low, row.high) for row in found.differences} == {(None, None)}
    assert verdict(found) == "no significant difference: top-1 +1.000"
    text = describe(found, a="one", b="two")
    assert "top-1 accuracy   0.000   1.000   +1.000   –\n" in text
    assert "with only 5 groups, there are no confidence intervals" in text


# What is refused


def test_other_groups_are_refused_whichever_comes_first() -> None:
    grouped = answers("jw", "jw", groups=["x", "y"])
    lone = answers("jw", "jj", groups=["x", None], source="b")
    for pair in ((grouped, lone), (lone, grouped)):
        with pytest.raises(DataError, match="disagree on the group of 1 videos"):
            compare(*pair)


def test_different_videos_are_refused() -> None:
    with pytest.raises(DataError, match="different videos: 3 and 4, 3 of them shared") as caught:
        compare(answers("jjw", "jjw", source="one"), answers("jjww", "jjww", source="two"))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("one and two were")


def test_changed_labels_are_refused() -> None:
    with pytest.raises(DataError, match="disagree on what 2 videos show: video 1 is jump and wave"):
        compare(answers("jjjw", "jjjw"), answers("jwww", "jwww"))


def test_other_classes_are_refused() -> None:
    text = "video_path,group,actual,predicted,p(hop),p(jump)\nvideo 0,,jump,jump,0.1,0.9\n"
    with pytest.raises(DataError, match="only b has 'hop'"):
        compare(answers("j", "j"), parsed(text, source="b"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video_path,actual\nv,jump\n", r"x: columns group, predicted, p\(<class>\) are missing"),
        (HEADER, "x: holds no video"),
        (HEADER + "v,,jump,jump,1,0\nv,,jump,jump,1,0\n", "x: 'v' is there twice"),
        (HEADER + "v,,hop,jump,1,0\n", r"x: column p\(hop\) is missing"),
        (
            HEADER + "v,,jump,jump,high,0\n",
            r"x: row 1, column p\(jump\): found 'high', expected a number from 0 to 1",
        ),
        (
            HEADER + "u,,jump,jump,1,0\nv,,jump,jump,nan,0\n",
            r"row 2, column p\(jump\): found 'nan'",
        ),
        (HEADER + "v,,jump,jump,17,0\n", r"x: row 1, column p\(jump\): found '17', expected"),
    ],
)
def test_what_is_no_table_of_predictions_is_refused(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parsed(text, source="x")


def test_answers_are_read_as_written() -> None:
    text = HEADER + '"a, b.mp4",007,wave,jump,0.75,0.25\nc.mp4,,jump,jump,1.0,0.0\n'
    found = parsed(text, source="x")
    assert found.frame["video_path"].tolist() == ["a, b.mp4", "c.mp4"]
    assert found.frame["group"][0] == "007"
    assert pd.isna(found.frame["group"][1])
    assert found.class_names == CLASSES
    assert found.actual.tolist() == [1, 0]
    assert found.predicted.tolist() == [0, 0]
    assert found.probabilities.tolist() == [[0.75, 0.25], [1.0, 0.0]]


# Two revisions


def run(folder: Path, *words: str) -> str:
    result = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def dvc(folder: Path, *words: str) -> str:
    return run(folder, sys.executable, "-m", "dvc", *words)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose one stage answers right as often as its parameter says."""
    folder = tmp_path_factory.mktemp("compare")
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "git", "config", "user.name", "t")
    run(folder, "git", "config", "user.email", "t@t")
    dvc(folder, "init", "-q")
    (folder / "stage.py").write_text(
        "from pathlib import Path\n"
        "right = int(Path('params.yaml').read_text().split()[1])\n"
        f"rows = [{HEADER.strip()!r}]\n"
        "for i in range(40):\n"
        "    rows.append(f'v{i},,jump,' + ('jump,0.8,0.2' if i < right else 'wave,0.2,0.8'))\n"
        "Path('metrics').mkdir(exist_ok=True)\n"
        "Path('metrics/predictions.csv').write_text('\\n'.join(rows) + '\\n')\n"
    )
    (folder / "params.yaml").write_text("right: 10\n")
    (folder / "dvc.yaml").write_text(
        f"stages:\n  evaluate:\n    cmd: '{sys.executable} stage.py'\n    deps: [stage.py]\n"
        "    params: [right]\n    outs: [metrics/predictions.csv]\n"
    )
    dvc(folder, "repro", "-q")
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "-qm", "ten of forty")
    dvc(folder, "exp", "run", "-q", "--name", "better-one", "-S", "right=30")
    run(folder, "git", "checkout", "-q", ".")
    dvc(folder, "checkout", "-q")
    return folder


def slowfast(folder: Path, *words: str) -> Done:
    return run_here(folder, COMMAND, *words)


@pytest.mark.process
def test_an_experiment_against_the_commit_it_came_from(project: Path) -> None:
    said = slowfast(project, "compare", "HEAD", "better-one")
    assert said.returncode == 0, said.stderr
    assert "only A correct: 0, only B correct: 20" in said.stdout
    assert said.stdout.splitlines()[-1].startswith("B is better: top-1 +0.500 [+0.")
    content = json.loads(slowfast(project, "compare", "main", "better-one", "--json").stdout)
    assert content["differences"][0]["score"] == "top1_accuracy"
    assert (content["differences"][0]["a"], content["differences"][0]["b"]) == (0.25, 0.75)
    assert content["verdict"].startswith("B is better")


def test_a_file_against_a_revision(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    found = compare(read_predictions("metrics/predictions.csv"), read_predictions("HEAD"))
    assert found.differences[0].difference == 0


@pytest.mark.process
@pytest.mark.parametrize("name", ["no-such-thing", "stage.py"])
def test_what_has_no_predictions_is_one_line(project: Path, name: str) -> None:
    said = slowfast(project, "compare", "HEAD", name)
    assert said.returncode == 1
    assert said.stderr.startswith(f"error: {name}: ")
    assert said.stderr.count("\n") == 1
