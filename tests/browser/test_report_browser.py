"""The report in a real browser, for people with a mouse, a keyboard, a phone or a printer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_imports import PROJECT
from reported_run import Answer, answers, write_run
from screens import DESKTOP, PHONE

from slowfast_finetune.inspection.findings import Finding
from slowfast_finetune.report.evidence import Evidence
from slowfast_finetune.report.report_page import compose
from slowfast_finetune.report.results import read_results


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, one with a name that is code and one that is long: 12 videos, 3 mistakes."""
    folder = tmp_path_factory.mktemp("run")
    odd, long = "<b>odd</b>", "a_class_with_a_very_long_name_that_never_ends"
    tests = [
        *answers("wave", {"wave": 4, odd: 2}),
        *answers(odd, {odd: 3}),
        Answer(long, "wave", 0.95),
        *answers(long, {long: 2}),
    ]
    run = write_run(folder, tests, class_names=["wave", odd, long])
    results = read_results(run.files)
    sheet = page_picture()
    mistake = next(video for video in results.predictions if not video.is_right)
    evidence = Evidence([(mistake, sheet, sheet)], cells=2)
    findings = [Finding("problem", "x", "x" * 300, "detail", ("a/very/long/" + "path" * 50,))]
    path = folder / "report.html"
    path.write_text(compose(results, store=run.store, evidence=evidence, findings=findings))
    return path


def page_picture() -> str:
    """A picture that every browser shows."""
    import numpy as np

    from slowfast_finetune.pictures.contact_sheets import data_uri, strip

    return data_uri(strip(np.zeros((2, 8, 8, 3), np.uint8), height=8))


@pytest.fixture
def open_page(browser: Any, report: Path) -> Iterator[Any]:
    """A maker of pages; in the end none may have complained or fetched anything."""
    faults: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url[:90]}"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
    fetched = [url[:90] for url in requests if not url.startswith("data:")]
    assert set(fetched) == {report.as_uri()}


def shown_cells(page: Any) -> list[str]:
    """Headings of the cells whose videos are to be seen."""
    cells = page.locator(".cell > summary").all()
    return [cell.inner_text().replace("\u202f", " ") for cell in cells if cell.is_visible()]


def test_a_click_on_a_cell_shows_its_videos_with_sheets_and_probabilities(open_page: Any) -> None:
    page = open_page()
    assert shown_cells(page) == ["wave predicted as <b>odd</b>: 2 of 6 videos, 33.3 %"]
    page.get_by_role("button", name="wave predicted correctly: 4 of 6").click()
    assert shown_cells(page) == ["wave predicted correctly: 4 of 6 videos, 66.7 %"]
    cards = page.locator(".cell[open] .card")
    assert cards.count() == 4
    picture = cards.first.locator("img.sheet")
    assert picture.is_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    rows = cards.first.locator(".p").all_inner_texts()
    assert rows[0].replace("\u202f", " ").split("\n") == ["wave", "80 %"]
    assert len(rows) == 3
    widths = [fill.bounding_box()["width"] for fill in cards.first.locator(".p .fill").all()]
    assert widths[0] > 5 * widths[1] > 0, "80 % beside 10 %"


def test_a_sheet_plays_its_frames_and_stops(open_page: Any) -> None:
    page = open_page()
    card = page.locator(".cell[open] .card").first
    button = card.get_by_role("button", name="play the frames of")
    button.focus()
    page.keyboard.press("Enter")
    screen = card.locator("canvas")
    assert screen.is_visible()
    assert not card.locator("img.sheet").is_visible()
    # Four columns of frames and the gaps between them.
    wide, high = card.locator("img.sheet").evaluate("i => [i.naturalWidth, i.naturalHeight]")
    size = screen.evaluate("canvas => [canvas.width, canvas.height]")
    assert size == [(wide + 2) // 4 - 2, (high + 2) // 2 - 2]
    first = screen.evaluate("canvas => canvas.toDataURL()")
    page.wait_for_function(
        "first => document.querySelector('canvas').toDataURL() !== first", arg=first
    )
    page.keyboard.press("Enter")
    assert card.locator("img.sheet").is_visible()
    assert screen.count() == 0


def test_keyboard_alone_is_enough(open_page: Any) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.cell") is not None:
            break
    assert page.evaluate("document.activeElement.dataset.cell") == "0-0"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid", "focus is to be seen"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.cell") == "0-1"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.cell") == "1-1"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.cell") == "1-1", "no videos below"
    page.keyboard.press("Enter")
    assert shown_cells(page) == ["<b>odd</b> predicted correctly: 3 of 3 videos, 100 %"]
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.cell") == "1-1"
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"


def test_cells_switch_between_videos_and_shares(open_page: Any) -> None:
    page = open_page()
    cell = page.locator('[data-cell="0-1"]')
    assert cell.inner_text() == "2"
    page.get_by_role("button", name="% of the row").click()
    assert cell.inner_text() == "33"
    assert (
        page.locator('[data-show="count"][aria-pressed]').get_attribute("aria-pressed") == "false"
    )


def test_the_legend_of_the_matrix_has_the_colours_of_its_cells(open_page: Any) -> None:
    page = open_page()
    for kind, variable in (("right", "--hit"), ("wrong", "--miss")):
        shown, meant = page.evaluate(
            """([kind, variable]) => {
                const swatch = document.querySelector(`.keys .swatch.${kind}`)
                const sample = document.body.appendChild(document.createElement("i"))
                sample.style.background = `var(${variable})`
                return [swatch, sample].map(e => getComputedStyle(e).backgroundColor)
            }""",
            [kind, variable],
        )
        assert shown == meant != "rgba(0, 0, 0, 0)"


def test_themes_follow_the_system_and_the_button(open_page: Any) -> None:
    def brightness(page: Any) -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(colour.removeprefix("rgb(").split(",")[0])

    light, dark = open_page(color_scheme="light"), open_page(color_scheme="dark")
    assert brightness(light) > 200
    assert brightness(dark) < 60
    for page, becomes_dark in ((light, True), (dark, False)):
        page.locator("#theme").click()
        assert (brightness(page) < 60) == becomes_dark
        page.reload()
        assert (brightness(page) < 60) == becomes_dark, "it is remembered"
        page.locator("#theme").click()
        assert (brightness(page) < 60) != becomes_dark


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_needs_no_sideways_scrolling(width: int, open_page: Any) -> None:
    page = open_page(viewport={**PHONE, "width": width}, has_touch=True, is_mobile=True)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator(".matrix-box").bounding_box()
    assert box["x"] + box["width"] <= width
    name = page.locator(".matrix tbody th").first.bounding_box()
    assert name["width"] >= 60, "class names stay legible"


def test_it_prints(open_page: Any) -> None:
    page = open_page(color_scheme="dark")
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 2
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.get_by_text("group_pattern:").is_visible(), "the parameters are printed"


def test_without_scripts_every_cell_can_be_opened(open_page: Any) -> None:
    page = open_page(java_script_enabled=False)
    assert len(shown_cells(page)) == 5
    assert not page.locator("#theme").is_visible()
    page.get_by_text("wave predicted correctly: 4 of 6").click()
    assert page.locator(".cell[open] .card img").first.is_visible()


def test_headings_and_names_are_there_for_a_screen_reader(open_page: Any) -> None:
    page = open_page()
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3')].map(one => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("svg:not([aria-label])").count() == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    links = page.evaluate("[...document.querySelectorAll('nav a')].map(one => one.hash.slice(1))")
    assert set(links) <= set(ids)


def test_sixty_classes_scroll_in_their_own_box(browser: Any, tmp_path: Path) -> None:
    names = [f"class_number_{index:02d}" for index in range(60)]
    tests = [Answer(name, names[(i + i % 3) % 60], 0.7) for i, name in enumerate(names * 2)]
    run = write_run(tmp_path, tests, class_names=names, num_train=3)
    path = tmp_path / "report.html"
    path.write_text(compose(read_results(run.files), store=run.store, evidence=Evidence()))
    page = browser.new_page(viewport=DESKTOP)
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= DESKTOP["width"]
    box = page.locator(".matrix-box")
    corner = page.locator(".matrix tbody th").first
    before = corner.bounding_box()["x"]
    box.evaluate("box => { box.scrollLeft = 700; box.scrollTop = 900; }")
    assert corner.bounding_box()["x"] == pytest.approx(before, abs=2), "names stay"
    head, frame = page.locator(".matrix thead th").nth(30).bounding_box(), box.bounding_box()
    assert frame["y"] - 2 <= head["y"] <= frame["y"] + frame["height"]
    page.locator('[data-cell="59-1"]').click()
    assert shown_cells(page)[0].startswith("class_number_59 predicted as class_number_01")
    page.close()


CONTRASTS = """() => {
  const brush = document.createElement("canvas").getContext("2d");
  const luminance = (colour) => {
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...brush.getImageData(0, 0, 1, 1).data].map((value) => {
      const share = value / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll("td button")].map((button) => {
    const text = luminance(getComputedStyle(button).color);
    const paper = luminance(getComputedStyle(button.parentElement).backgroundColor);
    return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
  });
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_stand_out_on_every_shade(theme: str, browser: Any, tmp_path: Path) -> None:
    """4.4 to 1 or more: WCAG 2.1 asks 4.5 of small text, and 3 of bold text from 14 pt."""
    tests = [
        answer
        for index in range(19)
        for answer in answers(f"c{index}", {f"c{index}": index + 1, "c19": 19 - index})
    ]
    run = write_run(tmp_path, tests, class_names=[f"c{index}" for index in range(20)])
    path = tmp_path / "report.html"
    path.write_text(compose(read_results(run.files), store=run.store, evidence=Evidence()))
    page = browser.new_page(color_scheme=theme)
    page.goto(path.as_uri())
    contrasts = page.evaluate(CONTRASTS)
    page.close()
    assert len(contrasts) == 2 * 19, "shares from a twentieth to nineteen of them"
    assert min(contrasts) >= 4.4


def test_the_script_for_screenshots_makes_small_pictures(report: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    result = subprocess.run(
        [sys.executable, "docs/screenshots.py", "--report", str(report), "--images", str(tmp_path),
         "--plots", str(tmp_path / "none.html")],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    pictures = list(tmp_path.glob("*.png"))
    assert len(pictures) == 5
    assert all(0 < path.stat().st_size < 400_000 for path in pictures)
