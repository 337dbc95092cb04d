"""The page of slowfast serve in a real browser: a video is dropped, and its label is read."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from screens import DESKTOP, PHONE
from served import CLASS_NAMES, Served, running_server, until, video_bytes, write_checkpoint

from slowfast_finetune.serving.limits import ServeLimits

CARD = """---
license: mit
---
# A model <img src=x onerror=alert(1)>

Some **bold** words and `code`.

- one
- <script>alert(2)</script>

| class | recall |
| --- | --- |
| clap | 0.9 |
"""
DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const dropped = new DataTransfer();
  dropped.items.add(new File([bytes], name, { type: "video/mp4" }));
  const target = document.getElementById("drop");
  for (const type of ["dragenter", "dragover", "drop"]) {
    const options = { bubbles: true, cancelable: true, dataTransfer: dropped };
    target.dispatchEvent(new DragEvent(type, options));
  }
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("model")
    (folder / "README.md").write_text(CARD)
    limits = ServeLimits(max_bytes=300_000, max_seconds=3.0, queue=1)
    with running_server(write_checkpoint(folder / "best.pt"), limits=limits) as served:
        yield served


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    path = folder / "my video & 'more'.mp4"
    path.write_bytes(video_bytes(folder))
    return path


@dataclasses.dataclass
class Opened:
    """Opens pages; remembers what they complained about and whom they asked."""

    browser: Any
    url: str
    faults: list[str] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, **options: Any) -> Any:
        page = self.browser.new_page(**{"viewport": DESKTOP, **options})
        page.on("console", lambda message: self.faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(self.url)
        wait_until(page, "document.getElementById('card-text').childElementCount > 0")
        return page


@pytest.fixture
def open_page(browser: Any, served: Served) -> Iterator[Opened]:
    """In the end no page may have complained, or asked anybody but this server."""
    opened = Opened(browser, served.url)
    yield opened
    for context in list(browser.contexts):
        context.close()
    assert opened.faults == []
    assert {
        url for url in opened.requests if not url.startswith((f"{served.url}/", "blob:", "data:"))
    } == set()


def wait_until(page: Any, expression: str) -> None:
    """Wait until an expression is true; playwright's own way is forbidden by the page's policy."""
    until(lambda: page.evaluate(expression))


def drop(page: Any, name: str, content: bytes) -> None:
    page.evaluate(DROP, [name, base64.b64encode(content).decode()])


def answer(page: Any) -> str:
    """The label, once it is there."""
    page.wait_for_selector("#result:not([hidden])", timeout=20_000)
    return str(page.locator("#answer").inner_text())


def test_a_dropped_video_plays_with_its_label_timeline_and_frames(
    open_page: Opened, video: Path
) -> None:
    page = open_page()
    drop(page, "<b>mine</b>.mp4", video.read_bytes())
    assert answer(page) in CLASS_NAMES
    assert page.locator("#name").inner_text() == "<b>mine</b>.mp4"
    wait_until(page, "document.getElementById('video').readyState >= 2")
    assert page.evaluate("document.getElementById('video').videoWidth") == 64
    rows = page.locator("#bars .bar").all_inner_texts()
    assert len(rows) == 3
    assert rows[0].split("\n")[0] == answer(page)
    segments = page.locator("#timeline button")
    assert segments.count() >= 1
    box = page.locator("#timeline").bounding_box()
    widths = [segment.bounding_box()["width"] for segment in segments.all()]
    assert sum(widths) == pytest.approx(box["width"], abs=2)
    pictures = page.locator("#frames img")
    assert pictures.count() in (3, 6, 9, 12)
    sizes = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    assert pictures.evaluate_all(sizes)
    last = page.locator("#frames figcaption button").last
    seconds = float(last.inner_text().removesuffix(" s"))
    last.click()
    assert page.evaluate("document.getElementById('video').currentTime") == pytest.approx(
        seconds, abs=0.06
    )


def test_a_chosen_video_is_looked_at_too_and_another_after_it(
    open_page: Opened, video: Path
) -> None:
    page = open_page()
    page.set_input_files("#file", video)
    first = answer(page)
    assert page.locator("#name").inner_text() == video.name
    page.set_input_files("#file", {"name": "2.mp4", "mimeType": "", "buffer": video.read_bytes()})
    wait_until(page, "document.getElementById('name').textContent === '2.mp4'")
    assert answer(page) == first


def test_refusals_are_told_in_words(open_page: Opened, video: Path, served: Served) -> None:
    page = open_page()
    problem = page.locator("#problem")
    drop(page, "a.mp4", b"x" * 300_001)
    problem.wait_for()
    assert problem.inner_text() == "a.mp4 has 0.30 MB; at most 0.30 MB are allowed."
    drop(page, "<u>b</u>.mp4", b"no video")
    wait_until(page, "document.getElementById('problem').textContent.includes('not_a_video')")
    assert problem.inner_text().startswith("<u>b</u>.mp4: cannot be opened")
    assert not page.locator("#result").is_visible()
    page.set_input_files("#file", video)
    answer(page)
    assert not problem.is_visible()
    # The browser itself notes the status of a refusal.
    assert len(open_page.faults) == 1
    assert "422" in open_page.faults.pop()


def test_a_busy_server_is_asked_again(
    open_page: Opened, video: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page()
    with monkeypatch.context() as patch:
        patch.setattr(type(served.service), "queue_room", property(lambda _: 0))
        page.set_input_files("#file", video)
        page.get_by_text("The server is busy").wait_for()
    answer(page)
    assert len(open_page.faults) == 1
    assert "503" in open_page.faults.pop()


def test_an_upload_can_be_cancelled(
    open_page: Opened, video: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(served.service.engine, "answer", lambda *_, **__: let_go.wait(20))
    page = open_page()
    page.set_input_files("#file", video)
    page.get_by_text("Predicting").wait_for()
    page.get_by_role("button", name="Cancel").click()
    assert not page.locator("#status").is_visible()
    let_go.set()
    until(lambda: not served.files() and not served.service.queue_length)


def test_keyboard_alone_is_enough(open_page: Opened, video: Path) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(9):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "file":
            break
    assert page.evaluate("document.activeElement.id") == "file"
    outline = "getComputedStyle(document.getElementById('drop')).outlineStyle"
    assert page.evaluate(outline) == "solid", "focus is to be seen"
    chosen: list[Any] = []
    page.on("filechooser", lambda chooser: chosen.append(chooser))
    for _ in range(5):
        # On a busy machine the browser may let a key pass.
        page.keyboard.press("Enter")
        page.wait_for_timeout(1000)
        if chosen:
            break
    chosen[0].set_files(video)
    answer(page)
    wait_until(page, "document.activeElement.id === 'answer'")
    seen = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.closest('#timeline, #frames')?.id ?? ''"))
    assert {"timeline", "frames"} <= seen


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_needs_no_sideways_scrolling(width: int, open_page: Opened, video: Path) -> None:
    page = open_page(viewport={**PHONE, "width": width}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_input_files("#file", video)
    answer(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_themes_follow_the_system_and_the_button(open_page: Opened) -> None:
    def brightness(page: Any) -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(colour.removeprefix("rgb(").split(",")[0])

    page = open_page(color_scheme="dark")
    assert brightness(page) < 60
    page.locator("#theme").click()
    assert brightness(page) > 200
    page.reload()
    assert brightness(page) > 200, "it is remembered"


def test_nothing_of_the_card_is_run(open_page: Opened) -> None:
    page = open_page()
    card = page.locator("#card-text")
    assert card.locator("script, img").count() == 0
    assert card.locator("h3").inner_text() == "A model <img src=x onerror=alert(1)>"
    assert card.locator("li").all_inner_texts() == ["one", "<script>alert(2)</script>"]
    assert card.locator("b").inner_text() == "bold"
    assert card.locator("td").all_inner_texts() == ["clap", "0.9"]
    assert "license" not in card.inner_text()
    assert page.locator("#example").inner_text().startswith("curl ")


def test_the_page_is_sound_for_a_screen_reader(open_page: Opened, video: Path) -> None:
    page = open_page()
    page.set_input_files("#file", video)
    answer(page)
    assert page.locator("img:not([alt])").count() == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.locator("#status-text").get_attribute("role") == "status"
