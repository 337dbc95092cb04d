"""The page of the label desk in a real browser, driven by keys."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desk_project import running_desk, write_desk_project
from screens import DESKTOP, PHONE
from served import until


@dataclasses.dataclass
class Desk:
    """The served project; opens pages, and remembers what they complained about."""

    browser: Any
    folder: Path
    url: str
    faults: list[str] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)

    def open(self, **options: Any) -> Any:
        page = self.browser.new_page(**{"viewport": DESKTOP, **options})
        page.on("console", lambda message: self.faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(self.url)
        until(lambda: page.evaluate("document.getElementById('file').textContent !== ''"))
        return page

    def rows(self) -> list[list[str]]:
        """Of each row the video, label, times, what was before, and the reason."""
        with (self.folder / "labels.csv").open(newline="") as file:
            return [[*row[:4], *row[6:]] for row in csv.reader(file)][1:]


@pytest.fixture
def desk(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """In the end no page may have complained, or asked anybody but this server."""
    monkeypatch.setenv("CLIP_STORE", str(tmp_path / "store"))
    with running_desk(tmp_path, write_desk_project(tmp_path, per_class=3)) as url:
        desk = Desk(browser, tmp_path, url)
        yield desk
        for context in list(browser.contexts):
            context.close()
    assert desk.faults == []
    assert {address for address in desk.requests if not address.startswith(url)} == set()


def shown(page: Any) -> str:
    return str(page.locator("#file").inner_text()).removeprefix("videos/")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def wait_saved(page: Any, number: int) -> None:
    text = "document.getElementById('progress-text').textContent"
    until(lambda: page.evaluate(text).startswith(f"{number} of "))


def test_keys_decide_and_each_decision_is_a_row(desk: Desk) -> None:
    page = desk.open()
    assert shown(page) == "clap/0.mp4"
    press(page, "Enter")  # keep
    assert shown(page) == "clap/1.mp4", "the next is shown at once"
    press(page, "3")  # wave
    press(page, "d")  # jump/0
    assert shown(page) == "jump/1.mp4"
    press(page, "/")
    page.keyboard.type("cla")
    press(page, "Enter")
    press(page, "n")
    page.keyboard.type("hop, <b>high</b>")
    press(page, "Enter", "Enter")
    wait_saved(page, 5)
    assert desk.rows() == [
        ["clap/0.mp4", "clap", "", "", "clap", "random"],
        ["clap/1.mp4", "wave", "", "", "clap", "doubtful"],
        ["jump/0.mp4", "", "", "", "jump", "doubtful"],
        ["jump/1.mp4", "clap", "", "", "jump", "doubtful"],
        ["wave/0.mp4", "hop, <b>high</b>", "", "", "wave", "doubtful"],
    ]
    assert "labels: labels.csv" in (desk.folder / "params.yaml").read_text()
    press(page, "u")
    wait_saved(page, 4)
    assert shown(page) == "wave/0.mp4", "what is undone is asked again"
    assert desk.rows()[-1] == [
        "wave/0.mp4", "wave", "", "", "hop, <b>high</b>", "doubtful, undo",
    ]  # fmt: skip
    assert "0 of 1 random case;" in page.locator("#estimate").inner_text()
    page.reload()
    wait_saved(page, 4)
    assert shown(page) == "wave/0.mp4", "the decided are not asked again"


def hold(page: Any, key: str, times: int = 5) -> None:
    """Press a key so long that it repeats; of `down`, all but the first are repeats."""
    for _ in range(times):
        page.keyboard.down(key)
    page.keyboard.up(key)


def test_a_held_key_decides_one_case(desk: Desk) -> None:
    page = desk.open()
    until(lambda: page.evaluate("document.getElementById('seek').max === '14'"))
    hold(page, "Enter")
    hold(page, "d")
    assert shown(page) == "jump/0.mp4"
    hold(page, "/")
    assert page.locator("#search").input_value() == ""
    page.keyboard.type("wave")
    hold(page, "Enter")
    page.locator("[data-key=d]").focus()
    hold(page, "Enter")
    wait_saved(page, 4)
    assert [row[1] for row in desk.rows()] == ["clap", "", "wave", ""]
    until(lambda: page.evaluate("document.getElementById('seek').max === '14'"))
    page.locator("#case").evaluate("() => document.activeElement.blur()")
    press(page, "p")
    before = int(page.locator("#seek").input_value())
    hold(page, ".", 3)
    assert int(page.locator("#seek").input_value()) == (before + 3) % 15, "frames may repeat"


def test_keys_of_an_input_method_decide_nothing(desk: Desk) -> None:
    page = desk.open()
    press(page, "n")
    page.keyboard.type("wave")
    for target in ("search", "case"):
        page.locator(f"#{target}").evaluate(
            "field => field.dispatchEvent(new KeyboardEvent("
            "'keydown', {key: 'Enter', isComposing: true, bubbles: true}))"
        )
    assert shown(page) == "clap/0.mp4"
    press(page, "Enter")
    wait_saved(page, 1)
    assert desk.rows()[0][:2] == ["clap/0.mp4", "wave"]


@pytest.mark.parametrize("key", ["n", "/"])
def test_an_empty_field_gives_no_label(desk: Desk, key: str) -> None:
    page = desk.open()
    press(page, key, "Enter", "Space", "Enter")
    assert shown(page) == "clap/0.mp4"
    assert page.locator("#hint").inner_text() == "Type a label, or choose one with ↓."
    press(page, "ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp", "Enter")  # the last
    assert not page.locator("#hint").is_visible()
    wait_saved(page, 1)
    assert [row[:2] for row in desk.rows()] == [["clap/0.mp4", "wave"]]


def test_a_new_class_is_asked_about_once_more(desk: Desk) -> None:
    page = desk.open()
    field, note = page.locator("#search"), page.locator("#hint")
    press(page, "/")
    page.keyboard.type("wvae")
    hold(page, "Enter")
    assert note.inner_text() == (
        "“wvae” is a new class; it needs videos in train, val and test. "
        "Enter again to create it, Esc to go back, ↓ for “wave”."
    )
    press(page, "Escape")
    assert not note.is_visible()
    assert field.input_value() == "wvae", "back to the text"
    press(page, "Enter", "ArrowDown", "Enter")
    assert shown(page) == "clap/1.mp4"
    press(page, "n")
    page.keyboard.type("swim")
    press(page, "Enter")
    assert note.inner_text().endswith("Esc to go back.")
    assert shown(page) == "clap/1.mp4"
    press(page, "Enter", "n")
    wait_saved(page, 2)
    press(page, "Escape", "n")
    page.keyboard.type("swim")
    press(page, "Enter")
    wait_saved(page, 3)
    assert [row[1] for row in desk.rows()] == ["wave", "swim", "swim"]


def test_skipped_cases_come_back_and_the_test_videos_come_last(desk: Desk) -> None:
    page = desk.open()
    order = []
    for _ in range(9):
        order.append((shown(page), page.locator("#test-note").is_visible()))
        press(page, "Space")
    assert [name for name, _ in order] == [
        f"{name}/{i}.mp4" for name in ("clap", "jump", "wave") for i in (0, 1)
    ] + [f"{name}/2.mp4" for name in ("clap", "jump", "wave")]
    assert [is_test for _, is_test in order] == [False] * 6 + [True] * 3
    assert shown(page) == "clap/0.mp4"
    compare = "slowfast compare HEAD metrics/predictions.csv"
    press(page, "ArrowLeft")
    assert compare in page.locator("#test-note").inner_text(), "before a test label is corrected"
    press(page, "Enter")
    wait_saved(page, 1)
    assert desk.rows() == [["wave/2.mp4", "wave", "", "", "wave", "doubtful, test"]]
    for _ in range(8):
        press(page, "Enter")
    assert page.locator("#done pre").inner_text().splitlines() == ["dvc repro", compare]
    wait_saved(page, 9)


def test_back_goes_to_decided_cases_which_can_be_decided_anew(desk: Desk) -> None:
    page = desk.open()
    press(page, "3", "d", "ArrowLeft")
    assert shown(page) == "clap/1.mp4"
    note = page.locator("#decided")
    note.get_by_text("Decided: dropped").wait_for()
    assert page.locator("#called").inner_text() == "no label"
    press(page, "ArrowLeft")
    assert note.inner_text().startswith("Decided: clap → wave.")
    assert page.locator("#called").inner_text() == "wave"
    press(page, "2")
    assert shown(page) == "jump/0.mp4", "the next that is not decided"
    assert not note.is_visible()
    for _ in range(7):
        press(page, "Enter")
    assert page.locator("#done").is_visible()
    press(page, "ArrowLeft")
    assert shown(page) == "wave/2.mp4"
    press(page, "Space")
    assert page.locator("#done").is_visible()
    wait_saved(page, 9)
    assert [row[:2] for row in desk.rows()[:3]] == [
        ["clap/0.mp4", "wave"], ["clap/1.mp4", ""], ["clap/0.mp4", "jump"],
    ]  # fmt: skip


def test_a_video_is_split_at_the_frame_shown_and_its_parts_are_asked(desk: Desk) -> None:
    page = desk.open()
    until(lambda: page.evaluate("document.getElementById('seek').max === '14'"))
    page.locator("#seek").evaluate(
        "seek => { seek.value = 4; seek.dispatchEvent(new Event('input')); }"
    )
    press(page, "s", ".", ".", ",")
    assert page.locator("#time").inner_text() == "0.33 s"  # frame 5 of 15 a second
    assert page.locator("#cut-note").is_visible()
    press(page, "s")
    until(lambda: shown(page) == "clap/0.mp4#t=0,0.333")
    press(page, "2")
    assert shown(page) == "clap/0.mp4#t=0.333"
    press(page, "k")
    wait_saved(page, 3)
    assert desk.rows() == [
        ["clap/0.mp4", "clap", "0", "0.333", "clap", "random, split"],
        ["clap/0.mp4", "clap", "0.333", "", "clap", "random, split"],
        ["clap/0.mp4", "jump", "0", "0.333", "clap", "part"],
        ["clap/0.mp4", "clap", "0.333", "", "clap", "part"],
    ]
    press(page, "u", "u", "u")
    until(lambda: shown(page) == "clap/0.mp4")
    wait_saved(page, 0)
    assert desk.rows()[-1] == ["clap/0.mp4", "clap", "", "", "clap", "random, undo"]


def test_blind_hides_the_models_opinion_and_is_noted(desk: Desk) -> None:
    page = desk.open()
    assert page.locator("#guesses").inner_text().split("\n") == ["jump", "80 %", "clap", "15 %"]
    assert page.locator("#neighbours").inner_text().split("\n") == ["jump", "0.90"]
    assert page.locator("#reason").inner_text().lower().startswith("drawn at random")
    press(page, "b")
    for hidden in ("guesses", "neighbours", "reason"):
        assert page.locator(f"#{hidden}").text_content() == ""
    assert page.locator("#said").inner_text() == "Called clap"
    press(page, "Space")
    assert page.locator("#said").inner_text() == "Called clap"
    before = len(desk.requests)
    page.reload()
    until(lambda: shown(page) == "clap/0.mp4")
    assert page.locator("#guesses").text_content() == "", "it is remembered"
    assert not [url for url in desk.requests[before:] if "opinions" in url], "it is not even sent"
    press(page, "1")  # seen before
    press(page, "1")
    press(page, "b")
    page.locator("#guesses .bar").first.wait_for()
    press(page, "b", "d")  # seen for a moment
    wait_saved(page, 3)
    assert [row[-1] for row in desk.rows()] == ["random", "doubtful, blind", "doubtful"]


def test_blind_is_remembered_for_one_run_of_the_server(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_STORE", str(tmp_path / "store"))
    cases = write_desk_project(tmp_path, per_class=3)
    page = browser.new_page()
    pressed = page.locator("#blind[aria-pressed=true]")
    with running_desk(tmp_path, cases, blind=True) as url:
        page.goto(url)
        pressed.wait_for()
        page.locator("#case").wait_for()
        press(page, "b")
        page.reload()
        page.get_by_text("jump").first.wait_for()
        assert pressed.count() == 0
    port = int(url.split(":")[2].split("/")[0])
    with running_desk(tmp_path, cases, port=port, token="another", blind=True) as url:
        page.goto(url)
        pressed.wait_for()
    page.close()


def test_two_windows_do_not_overwrite_each_other(desk: Desk) -> None:
    one, other = desk.open(), desk.open()
    press(one, "2")
    wait_saved(one, 1)
    press(other, "3")
    other.get_by_text("Not saved: decided in another window").wait_for()
    assert [row[1] for row in desk.rows()] == ["jump"]
    wait_saved(other, 1)
    assert other.locator("#called").inner_text() == "jump"
    assert len(desk.faults) == 1
    assert "409" in desk.faults.pop()


def test_undo_takes_back_what_its_own_window_decided(desk: Desk) -> None:
    one, other = desk.open(), desk.open()
    press(one, "2", "3")  # clap/0, clap/1
    wait_saved(one, 2)
    press(other, "Space", "Space", "d")  # jump/0
    wait_saved(other, 3)
    press(one, "u")
    until(lambda: len(desk.rows()) == 4)  # this window counts two saved before and after
    wait_saved(one, 2)
    assert desk.rows()[-1][:2] == ["clap/1.mp4", "clap"], "not the last of all, jump/0.mp4"
    other.reload()
    until(lambda: shown(other) == "clap/1.mp4")
    press(other, "ArrowLeft", "3")  # clap/0
    until(lambda: len(desk.rows()) == 5)
    press(one, "u")
    one.get_by_text("Not undone: clap/0.mp4: decided anew since, by").wait_for()
    assert "wave; undo that first" in one.locator("#problem").inner_text()
    press(one, "u")
    one.get_by_text("Not undone: this window has no decision left").wait_for()
    press(other, "u", "u")
    wait_saved(other, 1)
    assert [row[:2] for row in desk.rows()[-2:]] == [["clap/0.mp4", "jump"], ["jump/0.mp4", "jump"]]
    press(other, "u")
    other.get_by_text("no decision left").wait_for()
    other.locator("#history button").click()
    wait_saved(other, 0)
    assert desk.rows()[-1][:2] == ["clap/0.mp4", "clap"]
    assert ["409" in fault for fault in desk.faults] == [True]
    desk.faults.clear()


def test_a_mouse_and_a_phone_are_enough(desk: Desk) -> None:
    page = desk.open(viewport=PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("[data-key=Enter]").tap()
    page.locator("#numbered button").nth(2).tap()
    page.locator("[data-key=d]").tap()
    wait_saved(page, 3)
    page.locator("#history button").first.tap()
    wait_saved(page, 2)
    assert [row[1] for row in desk.rows()] == ["clap", "wave", "", "jump"]


@pytest.mark.parametrize("clicked", ["[data-key=d]", "#play", "#seek", "#help-button"])
def test_enter_keeps_after_a_click(desk: Desk, clicked: str) -> None:
    page = desk.open()
    page.locator(clicked).click()
    if clicked == "#help-button":
        page.get_by_role("button", name="Close").click()
    drops = int(clicked == "[data-key=d]")
    press(page, "Enter")
    wait_saved(page, 1 + drops)
    assert [row[1] for row in desk.rows()] == [""] * drops + ["clap"]


def test_loops_play_and_the_next_is_ready(desk: Desk) -> None:
    page = desk.open(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    press(page, "p")
    drawn = "performance.getEntriesByName('next clip').length"
    for number in range(1, 5):
        press(page, "Space")
        until(lambda number=number: page.evaluate(drawn) == number)
    assert shown(page) == "wave/0.mp4"
    row = page.evaluate(
        "[...document.getElementById('loop').getContext('2d').getImageData(0, 30, 64, 1).data]"
    )
    pixels = row[8:11], row[120:123]
    assert list(pixels[0]) == pytest.approx([255, 255, 255], abs=25), "the bar of the first frame"
    assert list(pixels[1]) == pytest.approx([40, 40, 200], abs=25), "the colour of wave"
    press(page, "p")
    frame = "document.getElementById('seek').value"
    until(lambda: page.evaluate(frame) == "5")
    until(lambda: page.evaluate(frame) == "2")


def test_the_page_is_sound_for_a_screen_reader(desk: Desk) -> None:
    page = desk.open()
    until(lambda: page.locator("#neighbours canvas").count() == 1)
    assert page.locator("canvas:not([aria-label])").count() == 0
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input')].filter("
        "one => !one.textContent.trim() && !one.ariaLabel).length"
    )
    assert unnamed == 0
    said = page.locator("#said").inner_text()
    assert said.startswith("Called clap; taken for jump, 80 %. Drawn at random")
    press(page, "Space")
    said = page.locator("#said").inner_text()
    assert said.endswith(". The model, trained without this video, doubts its label")
    press(page, "ArrowLeft", "ArrowLeft")
    said = page.locator("#said").inner_text()
    assert "agrees, but is less sure than of most labels" in said, "the last case"
    press(page, "?")
    assert page.evaluate("document.getElementById('help').open")
    press(page, "Escape")
    assert not page.evaluate("document.getElementById('help').open")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
