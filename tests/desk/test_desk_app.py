"""The server of the label desk."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import simplejpeg
from desk_project import (
    CLASS_NAMES,
    NUM_FRAMES,
    TOKEN,
    running_desk,
    serve_cases,
    write_desk_project,
)
from synthetic import steady, write_video

from slowfast_finetune.base.errors import InputError
from slowfast_finetune.commands import label as label_command
from slowfast_finetune.desk import decisions
from slowfast_finetune.desk.case_evidence import Case
from slowfast_finetune.desk.desk_session import Choice, LabelDesk
from slowfast_finetune.indexing.label_table import read_labels

# Certificates, which take long to load, are for https.
get, post = partial(httpx.get, verify=False), partial(httpx.post, verify=False)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("CLIP_STORE", str(tmp_path / "store"))
    with running_desk(tmp_path, write_desk_project(tmp_path, per_class=3)) as address:
        yield address


def test_only_who_knows_the_token_is_served(url: str) -> None:
    assert get(url).status_code == 200
    assert "default-src 'none'" in get(url).headers["content-security-policy"]
    for other in (url.replace(TOKEN, "tokem"), url.replace(f"{TOKEN}/", ""), f"{url}openapi.json"):
        assert get(other).status_code == 404
    foreign = {"sec-fetch-site": "cross-site"}
    assert post(f"{url}undo", json={"key": "x"}, headers=foreign).status_code == 403
    assert get(url, headers={"host": "evil.example"}).status_code == 403


@pytest.mark.process
def test_the_models_opinion_is_sent_apart_so_that_a_blind_page_has_none_of_it(url: str) -> None:
    name = "videos/jump/0.mp4"
    body = {"name": name, "action": "keep", "blind": True}
    state, progress = (get(f"{url}{path}").text for path in ("state", "progress"))
    decided = post(f"{url}decide", json=body).text
    for text in (state, progress, decided):
        for word in ("guess", "neighbour", "reason", "doubtful", 'random"', "0.8", "score"):
            assert word not in text
    cases = json.loads(state)["cases"]
    assert {*cases[0]} == {"name", "video", "label", "test", "start", "end"}
    assert get(f"{url}opinions").json()[name] == {
        "reason": "doubtful",
        "guesses": [["wave", 0.8], ["jump", 0.15]],
        "neighbours": [{"name": "videos/wave/0.mp4", "label": "wave", "similarity": 0.9}],
    }


def test_a_loop_has_all_frames_in_order(url: str) -> None:
    answer = get(f"{url}loop", params={"name": "videos/jump/0.mp4", "kind": "case"})
    facts = json.loads(answer.headers["x-loop"])
    assert facts == {
        "count": NUM_FRAMES, "columns": 4, "width": 64, "height": 48, "start": 0.0,
        "step": pytest.approx(1 / 15),
    }  # fmt: skip
    sheet = simplejpeg.decode_jpeg(answer.content)
    for index in range(NUM_FRAMES):
        top, left = index // 4 * 48, index % 4 * 64
        frame = sheet[top : top + 48, left : left + 64]
        bar = frame[20, 4 * index + 2].astype(int)
        assert bar == pytest.approx([255, 255, 255], abs=30), index
    assert get(f"{url}loop", params={"name": "/etc/passwd"}).status_code == 409


def test_what_is_not_in_the_store_is_decoded(tmp_path: Path, url: str) -> None:
    for path in (tmp_path / "store").rglob("*.safetensors"):
        path.unlink()
    write_video(tmp_path / "videos" / "jump" / "1.mp4", steady(30, fps=30))
    answer = get(f"{url}loop", params={"name": "videos/jump/1.mp4"})
    assert json.loads(answer.headers["x-loop"])["count"] == 15, "one second at 15 a second"
    broken = get(f"{url}loop", params={"name": "videos/jump/2.mp4"})
    assert broken.status_code == 409
    assert "cannot be opened" in broken.json()["detail"]


def test_damaged_settings_in_the_store_hide_their_own_clips_alone(tmp_path: Path, url: str) -> None:
    def count(name: str) -> int:
        answer = get(f"{url}loop", params={"name": name})
        return int(json.loads(answer.headers["x-loop"])["count"])

    (settings,) = (tmp_path / "store").rglob("settings.json")
    other = tmp_path / "store" / "0123456789abcdef" / "settings.json"
    other.parent.mkdir()
    other.write_text("{")
    assert count("videos/jump/0.mp4") == NUM_FRAMES
    settings.write_text("{")
    write_video(tmp_path / "videos" / "jump" / "1.mp4", steady(30, fps=30))
    assert count("videos/jump/1.mp4") == 15


@pytest.mark.parametrize(
    "choice",
    [
        {"action": "split", "at": 0},
        {"action": "label", "label": ""},
        {"action": "label", "label": "none of these"},
        {"action": "label"},
    ],
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path: Path, url: str, choice: object) -> None:
    body = {"name": "videos/jump/1.mp4", **dict(choice)}  # type: ignore[call-overload]
    answer = post(f"{url}decide", json=body)
    assert answer.status_code == 409
    assert answer.json()["detail"]
    assert not (tmp_path / "labels.csv").exists()


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    monkeypatch.setenv("CLIP_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(decisions, "decider", lambda: "Ada")
    return write_desk_project(tmp_path, per_class=6)


def decide(desk: LabelDesk, name: str, action: str, **given: Any) -> None:
    """As the page does: it tells the latest row about the case that it knows of."""
    known = desk.progress()["decided"].get(name, {"key": None})["key"]
    desk.decide(Choice.model_validate({"name": name, "action": action, "expected": known} | given))


def test_other_edits_of_the_parameters_stay(tmp_path: Path, cases: list[Case]) -> None:
    desk = LabelDesk(tmp_path, cases)
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 3"))
    edited = path.read_text()
    decide(desk, cases[1].name, "keep")
    assert path.read_text() == edited.replace("labels: null", "labels: labels.csv")


def test_a_part_that_is_split_in_turn_leaves_the_others(tmp_path: Path, cases: list[Case]) -> None:
    desk, name = LabelDesk(tmp_path, cases), cases[1].name
    decide(desk, name, "split", at=0.6)
    decide(desk, f"{name}#t=0,0.6", "split", at=0.2)
    progress = desk.progress()
    assert not progress["decided"][name]["open"], "its parts are asked, not all of it again"
    assert [part["name"] for part in progress["parts"]] == [
        f"{name}#t=0.6", f"{name}#t=0,0.2", f"{name}#t=0.2,0.6"
    ]  # fmt: skip
    assert all(progress["decided"][part["name"]]["open"] for part in progress["parts"])
    desk.undo(desk.table.standing[-1].key)
    rows = read_labels(tmp_path / "labels.csv").rows["clap/1.mp4"]
    assert [(row.start, row.end) for _, row in rows] == [(0.0, 0.6), (0.6, None)]


def test_a_case_is_not_split_after_its_end(tmp_path: Path, cases: list[Case]) -> None:
    desk, path = LabelDesk(tmp_path, cases), tmp_path / "videos/clap/1.mp4"
    write_video(path, steady(30, fps=30))
    with pytest.raises(InputError, match=r"^videos/clap/1\.mp4: the video ends before 1000 s$"):
        decide(desk, cases[1].name, "split", at=1000)
    assert not (tmp_path / "labels.csv").exists()
    # Such a part may stand in the table all the same.
    desk.table.path.write_text(
        "video,label,start,end,decided_at,decided_by,before,reason\n"
        'clap/1.mp4,clap,0,1000,2026-11-27T20:13:03Z,Ada,clap,"doubtful, split"\n'
        'clap/1.mp4,clap,1000,,2026-11-27T20:13:03Z,Ada,clap,"doubtful, split"\n'
    )
    with pytest.raises(InputError, match="the video ends before 1000 s"):
        desk.loop("videos/clap/1.mp4#t=1000", "case")


@pytest.mark.parametrize("at", [0, math.inf, math.nan])
def test_a_case_is_split_within_its_times(tmp_path: Path, cases: list[Case], at: float) -> None:
    with pytest.raises(InputError, match="cannot be split at"):
        decide(LabelDesk(tmp_path, cases), cases[1].name, "split", at=at)
    assert not (tmp_path / "labels.csv").exists()


def test_what_was_undone_is_no_class_any_more(tmp_path: Path, cases: list[Case]) -> None:
    desk = LabelDesk(tmp_path, cases)
    decide(desk, cases[1].name, "label", label="wvae")
    assert desk.progress()["classes"] == ["clap", "jump", "wave", "wvae"]
    desk.undo(desk.table.standing[-1].key)
    assert desk.progress()["classes"] == ["clap", "jump", "wave"]


def test_a_label_written_by_hand_is_the_label(tmp_path: Path, cases: list[Case]) -> None:
    desk = LabelDesk(tmp_path, cases)
    decide(desk, cases[1].name, "keep")
    with desk.table.path.open("a") as file:
        file.write("clap/2.mp4,wave,,,,,,\n")
    with pytest.raises(InputError, match="another program"):
        desk.decide(Choice(name=cases[2].name, action="keep"))
    decide(desk, cases[2].name, "keep")
    assert desk.table.decisions[-1].labels == ("wave",)
    assert desk.table.decisions[-1].before == "wave"


def test_what_was_decided_is_asked_again_if_its_label_has_changed_since(
    tmp_path: Path, cases: list[Case]
) -> None:
    """Whether its label was a row written by hand, and whoever decided."""

    def is_open() -> bool:
        """In the next session."""
        return bool(LabelDesk(tmp_path, cases).progress()["decided"][cases[1].name]["open"])

    path = tmp_path / "videos" / "labels.csv"
    path.write_text("video,label\nclap/1.mp4,jump\n")
    desk = LabelDesk(tmp_path, cases)
    assert is_open(), "nobody has looked at it here"
    decide(desk, cases[1].name, "keep")
    assert not is_open()
    for label, expected in (("jump", False), ("wave", True)):
        with path.open("a") as file:
            file.write(f"clap/1.mp4,{label},,,,,,\n")
        assert is_open() == expected
        decide(desk, cases[1].name, "keep")
        assert not is_open()


def test_a_table_that_becomes_invalid_is_said_in_a_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("video,label,start\na.mp4,x,later\n")
    answer = post(f"{url}undo", json={"key": "x"})
    assert answer.status_code == 409
    assert "labels.csv: row 2" in answer.json()["detail"]


def test_random_cases_give_an_interval(tmp_path: Path, cases: list[Case]) -> None:
    drawn = [replace(case, reason="random") for case in cases[:12]]
    desk = LabelDesk(tmp_path, [*drawn, *cases[12:]])
    assert desk.estimate() is None
    for number, case in enumerate(drawn[:10]):
        label = "wave" if number == 3 else case.row.class_name
        decide(desk, case.name, "label", label=label)
    decide(desk, cases[14].name, "label", label="jump")  # not drawn: it does not count
    decide(desk, cases[11].name, "drop")
    desk.undo(desk.table.standing[-1].key)
    estimate = desk.estimate()
    assert estimate is not None
    # Wilson's interval of 1 of 10, from statsmodels' proportion_confint.
    assert (estimate["wrong"], estimate["count"], estimate["drawn"]) == (1, 10, 12)
    assert (estimate["low"], estimate["high"]) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    told = label_command.summary(desk)
    assert told.startswith("11 decisions in ")
    assert "1 of 10 random cases had a wrong label (drawn, but not decided: 2)" in told
    assert "1.8 to 40.4 %" in told
    decide(desk, cases[3].name, "keep")
    assert desk.estimate() == estimate, "what a changed label was before still counts"


@pytest.mark.process
def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    write_desk_project(tmp_path, per_class=30)
    rng = np.random.default_rng(0)
    context = multiprocessing.get_context("fork")  # others would import for seconds
    answered: dict[str, str] = {}
    names = [f"{name}/{i}.mp4" for name in CLASS_NAMES for i in range(30)]
    for _ in range(2):
        here, there = context.Pipe()
        process = context.Process(target=serve_cases, args=(tmp_path, there))
        process.start()
        url = here.recv()
        last = len(answered) + 12
        with contextlib.suppress(httpx.TransportError), httpx.Client(timeout=20) as client:
            for name in names[len(answered) :]:
                label = str(rng.choice(CLASS_NAMES))
                body = {"name": f"videos/{name}", "action": "label", "label": label}
                answer = client.post(f"{url}decide", json=body)
                if answer.status_code == 409:  # written, but not answered before the end
                    assert "meanwhile" in answer.json()["detail"]
                    label = answer.json()["decided"][f"videos/{name}"]["label"]
                answered[name] = label
                if len(answered) == last:
                    process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    rows = read_labels(tmp_path / "labels.csv").rows
    assert len(answered) >= 24
    assert {name: rows[name][0][1].label for name in answered} == answered
