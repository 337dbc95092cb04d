"""Which cases the label desk shows, why, and in which order: by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import write_project
from synthetic import make_rows, steady, touch_videos, write_video
from tiny_model import write_checkpoint

from slowfast_finetune.base.errors import DataError
from slowfast_finetune.base.files import hash_file
from slowfast_finetune.base.manifest_table import ManifestRow
from slowfast_finetune.clips.clip_store import ClipStore
from slowfast_finetune.clips.clip_tables import CLIPS, ClipRow
from slowfast_finetune.desk import decisions
from slowfast_finetune.desk.case_evidence import CaseEvidence, Unlabelled
from slowfast_finetune.desk.decisions import DecisionTable
from slowfast_finetune.desk.queue import (
    arrange,
    build_queue,
    confident_mistakes,
    spread,
    unlabelled_rows,
)
from slowfast_finetune.desk.suggesting import suggest
from slowfast_finetune.evaluation.result_tables import PREDICTIONS, PredictionRow
from slowfast_finetune.features.logistic import held_out_probabilities
from slowfast_finetune.indexing.label_table import Span
from slowfast_finetune.inspection.label_errors import margins

NAMES = ("clap", "jump", "wave")


def rows_of(labels: Sequence[int]) -> list[ClipRow]:
    rows = make_rows(len(labels))
    return [
        row._replace(label=label, class_name=NAMES[label], video_path=f"{index:02}.mp4")
        for index, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]


def evidence_of(
    labels: Sequence[int], probabilities: Sequence[Sequence[float]], **changes: Any
) -> CaseEvidence:
    like = [row._replace(video_path=f"like {index}") for index, row in enumerate(rows_of(labels))]
    near = [((row, 0.9),) for row in like]
    known = CaseEvidence(rows_of(labels), NAMES, np.array(probabilities, np.float64), near, [])
    return replace(known, **changes)


def test_a_margin_is_the_best_other_class_less_the_own() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
    assert margins(probabilities, np.array([0, 1, 0])) == pytest.approx([-0.5, 0.5, 0.1])


def test_a_wrong_label_is_held_out_of_what_judges_it() -> None:
    labels = [0] * 10 + [1] * 10
    features = np.zeros((20, 4), np.float32)
    features[:10, 0] = features[10:, 1] = 5
    features += np.random.default_rng(0).normal(0, 0.1, features.shape).astype(np.float32)
    # Alone it could be learned: another feature tells it from all others. So can its group.
    features[[3, 4], 3] = 50
    labels[3] = labels[4] = 1
    rows = [row._replace(content_hash=str(i)) for i, row in enumerate(rows_of(labels))]
    rows[3:5] = [row._replace(group="one camera") for row in rows[3:5]]
    probabilities, _ = held_out_probabilities(rows, features, balanced=False, seed=0)
    scores = margins(probabilities, np.array(labels))
    assert set(np.argsort(-scores)[:2].tolist()) == {3, 4}


def test_the_most_doubtful_comes_first_with_its_guesses_and_neighbours() -> None:
    known = evidence_of([0, 1, 2], [[0.6, 0.3, 0.1], [0.8, 0.15, 0.05], [0.1, 0.5, 0.4]])
    first, second = arrange(known, [], random_share=0, seed=0)
    assert (first.name, first.reason, first.score) == ("01.mp4", "doubtful", pytest.approx(0.65))
    assert first.guesses == (("clap", 0.8), ("jump", 0.15), ("wave", 0.05))
    assert first.neighbours[0][0].case == "like 1"
    assert (first.row.class_name, first.row.split) == ("jump", "train")
    assert (second.name, second.score) == ("02.mp4", pytest.approx(0.1))


def test_a_fifth_is_shown_even_if_no_label_is_doubtful_and_what_is_unknown_is_not() -> None:
    sure = [[0.9 - index / 100, 0.1 + index / 100, 0] for index in range(10)]
    known = evidence_of([0] * 11, [*sure, [np.nan] * 3])
    found = arrange(known, [], random_share=0, seed=0)
    assert [case.name for case in found] == ["09.mp4", "08.mp4", "07.mp4"]


def test_a_case_is_shown_once_for_its_strongest_reason(tmp_path: Path) -> None:
    labels = [0, 1, 2, 0, 0, 1]
    probabilities = [[0.2, 0.8, 0]] + [np.eye(3)[label].tolist() for label in labels[1:]]
    # 3, 4 and 5 are copies: two thirds of them speak against 5, a third against 3 and 4.
    known = evidence_of(labels, probabilities, copies=[[3, 4, 5]])
    path = write_predictions(
        tmp_path, {"00.mp4": (0, 0.5), "01.mp4": (2, 0.9), "02.mp4": (2, 1.0), "gone.mp4": (0, 1.0)}
    )
    found = arrange(known, confident_mistakes(known.rows, path), random_share=0, seed=0)
    assert [(case.name, case.reason, round(case.score, 4)) for case in found] == [
        ("01.mp4", "confident mistake", 0.85),
        ("05.mp4", "near copy", 0.6667),
        ("00.mp4", "doubtful", 0.6),
        ("03.mp4", "near copy", 0.3333),
        ("04.mp4", "near copy", 0.3333),
    ]
    assert found[0].guesses[0] == ("wave", 0.9), "the run's, not those of the held-out head"


def test_a_label_that_has_changed_since_is_no_mistake(tmp_path: Path) -> None:
    path = write_predictions(tmp_path, {"00.mp4": (2, 0.9)})
    assert len(confident_mistakes(rows_of([1]), path)) == 1
    assert confident_mistakes(rows_of([2]), path) == []
    assert confident_mistakes(rows_of([0]), path) == []


def write_predictions(folder: Path, predicted: dict[str, tuple[int, float]]) -> Path:
    """Cases of class jump, or of the predicted one if that is sure."""
    rows, values = [], []
    for name, (label, confidence) in predicted.items():
        each = np.full(3, (1 - confidence) / 2)
        each[label] = confidence
        actual = label if confidence == 1 else 1
        shown = (NAMES[actual], NAMES[label], NAMES[label], confidence, float(each[actual]))
        rows.append(PredictionRow(name, None, *shown, 1))
        values.append(each)
    path = folder / "predictions.csv"
    PREDICTIONS.write(path, rows, class_names=NAMES, class_values=np.array(values))
    return path


def test_random_cases_are_drawn_from_all_and_stay_random_though_doubtful() -> None:
    """Else wrong labels would be rarer among them than in the set."""
    wrong = [index % 4 == 0 for index in range(200)]
    known = evidence_of([0] * 200, [[0.1, 0.9, 0] if each else [0.9, 0.1, 0] for each in wrong])
    found = arrange(known, [], random_share=0.5, seed=3)
    drawn = [case for case in found if case.reason == "random"]
    assert len(drawn) == 50, "as many as are doubtful"
    share = np.mean([wrong[int(case.name[:-4])] for case in drawn])
    assert 0.1 < share < 0.45
    assert len({case.name for case in found}) == len(found), "each once"
    shown_as = [case.reason for case in found]
    assert 20 <= shown_as[: len(found) // 2].count("random") <= 30, "spread evenly"
    assert found == arrange(known, [], random_share=0.5, seed=3)
    assert found != arrange(known, [], random_share=0.5, seed=4)


def test_others_are_spread_evenly() -> None:
    assert "".join(spread("aaaa", "xy")) == "axaaya"
    assert "".join(spread("ab", "")) == "ab"
    assert "".join(spread("", "xy")) == "xy"


def test_suggested_are_uncertain_and_unlike_each_other() -> None:
    # Copies: 0 and 2 uncertain, 1 and 4 nearly so, 3 and 5 sure.
    features = np.eye(3, dtype=np.float32)[[0, 1, 0, 2, 1, 2]]
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4], [0.5, 0.5], [1, 0], [0.4, 0.6], [1, 0]])
    for seed in range(5):
        assert suggest(features, probabilities, count=2, seed=seed) == [0, 1]
        assert suggest(features, probabilities, count=3, seed=seed) == [0, 1, 3]
    assert suggest(features, probabilities, count=6, seed=0) == [0, 2, 1, 4, 3, 5]


def test_suggested_are_the_middles_of_the_most_uncertain() -> None:
    # Angles of 20°, 30° and 40° are uncertain, and nine others at 35° less: ten are considered.
    angles = np.radians([20, 30, 40, *[80] * 7, *[35] * 9])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) ** 2
    sure = np.array([0.5] * 3 + [0.501] * 7 + [0.6] * 9)
    # Their mean is near (3 · 30° + 7 · 80°) / 10 = 65°, and the nearest considered one at 80°.
    assert suggest(features, np.stack([sure, 1 - sure], axis=1), count=1, seed=0) == [3]
    # Now seven of those at 35° take the place of those at 80°, which are sure.
    sure[3:10] = 0.9
    assert suggest(features, np.stack([sure, 1 - sure], axis=1), count=1, seed=0) == [10]
    # What is sure is considered, but has no weight.
    sure[3:] = 1
    assert suggest(features, np.stack([sure, 1 - sure], axis=1), count=1, seed=0) == [1]


def test_unlabelled_cases_have_no_label_and_stand_among_the_others() -> None:
    near = ((rows_of([0])[0], 0.5),)
    rows = [
        row._replace(video_path=f"new {row.video_path}", class_name="") for row in rows_of([0, 0])
    ]
    given = Unlabelled(
        rows, np.eye(2, 4, dtype=np.float32), np.array([[0.5, 0.5, 0], [0.9, 0.1, 0]]), [near] * 2
    )
    known = evidence_of([0] * 4, [[0.1, 0.9, 0]] * 4, unlabelled=given)
    found = arrange(known, [], random_share=0, seed=0)
    assert [case.name[:3] for case in found] == ["00.", "new", "01.", "02.", "new", "03."]
    case = found[1]
    assert (case.name, case.row.class_name) == ("new 00.mp4", "")
    assert (case.reason, case.score, case.neighbours) == ("unlabelled", 0.5, near)


@pytest.mark.parametrize(("count", "held"), [(0, "no case"), (8, "only class 'clap'")])
def test_fewer_than_two_classes_are_refused(tmp_path: Path, count: int, held: str) -> None:
    write_project(tmp_path)
    path = tmp_path / "data" / "clips.csv"
    CLIPS.write(path, CLIPS.read_rows(path)[:count])
    with pytest.raises(DataError, match=f"^data/clips.csv: holds {held}; labels are judged"):
        build_queue(tmp_path)


def test_what_is_known_is_not_asked_about_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = write_project(tmp_path)
    folder = touch_videos(tmp_path / "new", [f"{name}.mp4" for name in "abcdefgh"])
    touch_videos(tmp_path / "videos", ["x.mp4"])
    for copied, name in (("a", "b"), ("d", "f")):
        (folder / f"{name}.mp4").write_bytes((folder / f"{copied}.mp4").read_bytes())
    (known, *_) = CLIPS.read_rows(tmp_path / "data" / "clips.csv")
    in_set = [
        known._replace(content_hash=hash_file(folder / "c.mp4")),
        known._replace(video_path="new/g.mp4"),
    ]
    monkeypatch.setattr(decisions, "decider", lambda: "Ada")
    table = DecisionTable(tmp_path / "videos" / "labels.csv")
    for name, label in (("d", "wave"), ("e", None), ("h", "wave")):
        table.decide([(Span(f"../new/{name}.mp4"), label)],
                     before=None, words=["unlabelled"], expected=None)  # fmt: skip
    table.undo(table.decisions[-1])
    asked: list[str] = []

    def decode(manifest: list[ManifestRow], **_: Any) -> tuple[list[ClipRow], list[Any]]:
        asked.extend(row.video_path for row in manifest)
        return [known], []

    monkeypatch.setattr("slowfast_finetune.desk.queue.cache_videos", decode)
    store = ClipStore(tmp_path / "store", params.clip)
    unlabelled_rows(folder, in_set, params=params, store=store, project=tmp_path)
    assert asked == ["new/a.mp4", "new/h.mp4"]
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"{folder}: not asked about: 6 of 8 videos: "
        "3 decided already, 2 in the set already, 1 like others there"
    )
    for name in "ah":
        table.decide([(Span(f"../new/{name}.mp4"), "wave")], before=None, words=["unlabelled"],
                     expected=table.latest(Span(f"../new/{name}.mp4")))  # fmt: skip
    assert unlabelled_rows(folder, in_set, params=params, store=store, project=tmp_path) == []


@pytest.mark.process
def test_a_run_gives_a_queue_with_and_without_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = write_project(tmp_path)
    monkeypatch.setenv("CLIP_STORE", str(tmp_path / "store"))
    rows = CLIPS.read_rows(tmp_path / "data" / "clips.csv")
    rows[5] = rows[5]._replace(label=2, class_name="wave")  # it is red, as those of class clap
    CLIPS.write(tmp_path / "data" / "clips.csv", rows)
    write_video(tmp_path / "new" / "deep" / "a.mp4", steady(30, 15))
    with pytest.raises(DataError, match=r"best\.pt: no such checkpoint to judge .*new by"):
        build_queue(tmp_path, unlabelled=tmp_path / "new")
    build_queue(tmp_path)
    assert "models/best.pt is not there yet" in capsys.readouterr().out

    (tmp_path / "models").mkdir()
    write_checkpoint(tmp_path / "models" / "best.pt", params)
    found = build_queue(tmp_path, unlabelled=tmp_path / "new")
    doubtful = [case for case in found if case.reason == "doubtful"]
    assert doubtful[0].name == rows[5].video_path
    assert doubtful[0].guesses[0][0] == "clap"
    assert [near.class_name for near, _ in doubtful[0].neighbours][:1] == ["clap"]
    (new,) = (case for case in found if case.reason == "unlabelled")
    assert new.name == "new/deep/a.mp4"
    assert len(new.neighbours) == 5

    in_one_group = [row._replace(group="one") if row.label == 2 else row for row in rows]
    CLIPS.write(tmp_path / "data" / "clips.csv", in_one_group)
    capsys.readouterr()
    found = build_queue(tmp_path, unlabelled=tmp_path / "new")
    assert [case.name for case in found if case.reason == "unlabelled"] == ["new/deep/a.mp4"]
    assert not [case for case in found if case.reason == "doubtful"]
    told = capsys.readouterr().out
    assert "no labels are put in doubt by the model: class 'wave' lies in one group alone" in told
