"""The plots: templates that hold the data of every revision, and a page that draws them."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline_imports import PROJECT

TABLES = {
    "metrics/history.csv": """\
epoch,train_loss,val_loss,train_accuracy,val_accuracy,val_macro_f1,learning_rate,\
learning_rate_backbone,grad_norm_head,grad_norm_backbone
1,1.8,1.7,0.2,0.3,0.25,0.001,0.0001,3.5,1.5
2,0.9,1.1,0.6,0.5,0.5,0.002,0.0002,2.5,1.25
""",
    "metrics/plots/confusion.csv": """\
actual,predicted,count,share
jump,jump,3,0.75
jump,wave,1,0.25
wave,jump,0,0.0
wave,wave,4,1.0
""",
    "metrics/plots/per_class.csv": """\
class_name,precision,recall,recall_low,recall_high,f1,num_videos
jump,1.0,0.75,0.3,0.95,0.8571,4
wave,0.8,1.0,0.51,1.0,0.8889,4
""",
    "metrics/plots/reliability.csv": """\
bin,confidence,accuracy,low,high,num_videos
0.6–0.7,0.65,0.5,0.1,0.9,2
0.9–1.0,0.95,1.0,0.6,1.0,6
""",
}
CURVES = ["Loss", "Accuracy", "Learning rate", "Gradient norm", "metrics/history.csv"]
TEST_PLOTS = [
    "Confusion, share of each class",
    "metrics/plots/confusion.csv",
    "metrics/plots/per_class.csv",
    "metrics/plots/reliability.csv",
]


def dvc(project: Path, *words: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=project,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def commit(project: Path, message: str) -> None:
    person = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["add", "."], [*person, "commit", "-qm", message]):
        subprocess.run(["git", *words], cwd=project, check=True)


def plot_definitions() -> list[Any]:
    """What dvc.yaml says of plots, of the stages and of the whole, as plots of the whole."""
    content = yaml.safe_load((PROJECT / "dvc.yaml").read_text())
    of_stages = [
        {path: {key: value for key, value in plot.items() if key != "cache"}}
        for stage in content["stages"].values()
        for entry in stage.get("plots", [])
        for path, plot in entry.items()
    ]
    return [*content["plots"], *of_stages]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables written by hand, no stages; the branch ``other`` got every wave wrong."""
    folder = tmp_path_factory.mktemp("plots")
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
    shutil.copytree(PROJECT / ".dvc" / "plots", folder / ".dvc" / "plots")
    shutil.copyfile(PROJECT / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / ".gitignore").write_text("dvc_plots\n.dvc/tmp\n.dvc/cache\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": plot_definitions()}))
    for name, text in TABLES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    commit(folder, "one")
    subprocess.run(["git", "checkout", "-qb", "other"], cwd=folder, check=True)
    confusion = folder / "metrics/plots/confusion.csv"
    confusion.write_text(
        confusion.read_text()
        .replace("wave,jump,0,0.0", "wave,jump,4,1.0")
        .replace("wave,wave,4,1.0", "wave,wave,0,0.0")
    )
    commit(folder, "two")
    subprocess.run(["git", "checkout", "-q", "main"], cwd=folder, check=True)
    return folder


def specs(project: Path, *words: str) -> dict[str, dict[str, Any]]:
    """The filled vega-lite specification of each plot."""
    content = json.loads(dvc(project, "plots", *words, "--json"))
    assert "errors" not in content
    return {
        name: json.loads(plot["content"]) if isinstance(plot["content"], str) else plot["content"]
        for name, plots in content["data"].items()
        for plot in plots
    }


@pytest.mark.process
def test_every_plot_of_dvc_yaml_holds_its_table(project: Path) -> None:
    shown = specs(project, "show")
    assert sorted(shown) == sorted([*CURVES, *TEST_PLOTS])
    assert not any("<DVC_METRIC" in json.dumps(spec) for spec in shown.values())
    counts = [
        (row["rev"], row["actual"], row["predicted"], row["count"], row["share"])
        for row in shown["metrics/plots/confusion.csv"]["data"]["values"]
    ]
    assert counts == [
        ("workspace", "jump", "jump", "3", "0.75"),
        ("workspace", "jump", "wave", "1", "0.25"),
        ("workspace", "wave", "jump", "0", "0.0"),
        ("workspace", "wave", "wave", "4", "1.0"),
    ]
    loss = {
        (row["field"], row["epoch"]): row["dvc_inferred_y_value"]
        for row in shown["Loss"]["data"]["values"]
    }
    assert loss == {
        ("train_loss", "1"): "1.8", ("train_loss", "2"): "0.9",
        ("val_loss", "1"): "1.7", ("val_loss", "2"): "1.1",
    }  # fmt: skip


@pytest.mark.process
def test_two_revisions_are_in_every_plot(project: Path) -> None:
    compared = specs(project, "diff", "main", "other")
    assert sorted(compared) == sorted([*CURVES, *TEST_PLOTS])
    for name, spec in compared.items():
        assert {row["rev"] for row in spec["data"]["values"]} == {"main", "other"}, name
        assert '"field": "rev"' in json.dumps(spec), f"{name} does not tell the revisions apart"
    right_waves = {
        row["rev"]: row["share"]
        for row in compared["Confusion, share of each class"]["data"]["values"]
        if row["actual"] == row["predicted"] == "wave"
    }
    assert right_waves == {"main": "1.0", "other": "0.0"}


@pytest.mark.process
def test_series_of_one_chart_are_told_apart(project: Path) -> None:
    compared = specs(project, "diff", "main", "other")
    for name in CURVES[:4]:
        encoding = compared[name]["encoding"]
        assert encoding["color"]["field"] == "rev"
        assert encoding["strokeDash"]["field"] == "field"
        assert len({tuple(dash) for dash in encoding["strokeDash"]["scale"]["range"]}) == 2


def test_no_template_is_unused_and_none_is_missing() -> None:
    used = {plot["template"] for entry in plot_definitions() for plot in entry.values()}
    assert used == {path.stem for path in (PROJECT / ".dvc/plots").glob("*.json")}


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = importlib.import_module("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome")
        path = next(filter(None, map(shutil.which, names)), None)
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


class Visit:
    """A page opened in a theme: what it asked for, what it complained of, what it shows."""

    def __init__(self, browser: Any, path: Path, *, theme: str) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_page(color_scheme=theme)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())
        self.page.wait_for_function(
            "(charts => charts.length && charts.every(chart => chart.querySelector('svg.marks')))"
            "([...document.querySelectorAll('.chart')])"
        )

    def texts(self, chart: str) -> list[str]:
        """The words and numbers of a chart, by its id, in the order they are drawn."""
        found: list[str] = self.page.eval_on_selector_all(
            f"#{chart} svg.marks text", "texts => texts.map(text => text.textContent)"
        )
        return found

    def colour(self, selector: str, name: str) -> str:
        found: str = self.page.eval_on_selector(
            selector, f"element => getComputedStyle(element)['{name}']"
        )
        return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("words", [("show",), ("diff", "main", "other")])
def test_page_draws_every_chart_without_internet(
    project: Path, browser: Any, words: tuple[str, ...], theme: str
) -> None:
    dvc(project, "plots", *words)
    path = project / "dvc_plots" / "index.html"
    visit = Visit(browser, path, theme=theme)
    assert visit.requests == [path.as_uri()]
    assert visit.complaints == []
    assert visit.page.locator(".chart").count() == len([*CURVES, *TEST_PLOTS])
    cells = [text for text in visit.texts("metrics_plots_confusion_csv") if text.isdigit()]
    one = ["3", "1", "0", "4"]
    other = ["3", "1", "4", "0"] if words[0] == "diff" else []
    # Besides the cells there are a few numbers of the legend.
    assert cells[: len(one + other)] == one + other
    shares = [text for text in visit.texts("Confusion__share_of_each_class") if "%" in text]
    assert shares[:3] == ["75%", "25%", "100%"]


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_and_numbers_can_be_read(project: Path, browser: Any, theme: str) -> None:
    dvc(project, "plots", "diff", "main", "other")
    visit = Visit(browser, project / "dvc_plots" / "index.html", theme=theme)
    card = visit.colour(".chart", "backgroundColor")
    assert (luminance(card) > 0.5) == (theme == "light")
    for selector in (".role-title-text text", ".role-axis-label text", ".role-legend-label text"):
        assert contrast(visit.colour(f".chart {selector}", "fill"), card) >= 4.5, selector
    for chart in ("metrics_plots_confusion_csv", "Confusion__share_of_each_class"):
        cells = visit.page.eval_on_selector_all(
            f"#{chart} .mark-rect.role-mark path",
            "all => all.map(one => getComputedStyle(one).fill)",
        )
        numbers = visit.page.eval_on_selector_all(
            f"#{chart} .mark-text.role-mark text",
            "all => all.map(one => getComputedStyle(one).fill)",
        )
        assert len(cells) == len(numbers) == 8
        assert all(contrast(*pair) >= 4.5 for pair in zip(cells, numbers, strict=True))


def test_charts_follow_a_change_of_theme(project: Path, browser: Any) -> None:
    dvc(project, "plots", "show")
    visit = Visit(browser, project / "dvc_plots" / "index.html", theme="light")
    title = ".chart .role-title-text text"
    before = visit.colour(title, "fill")
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_function(
        f"getComputedStyle(document.querySelector('{title}')).fill != '{before}'"
    )
    assert visit.complaints == []


def test_paper_is_light(project: Path, browser: Any) -> None:
    dvc(project, "plots", "show")
    visit = Visit(browser, project / "dvc_plots" / "index.html", theme="dark")
    assert luminance(visit.colour(".chart .role-title-text text", "fill")) > 0.5
    # A browser prints as soon as it has told so: no timer and no frame may pass in between.
    visit.page.evaluate(
        "async () => {"
        "  dispatchEvent(new Event('beforeprint'));"
        "  for (let turn = 0; turn < 1000; turn++) await null;"
        "  for (const chart of document.querySelectorAll('.chart'))"
        "    chart.printed = getComputedStyle(chart.querySelector('.role-title-text text')).fill;"
        "}"
    )
    printed = visit.page.eval_on_selector_all(".chart", "charts => charts.map(one => one.printed)")
    assert len(printed) == 9
    assert all(luminance(colour) < 0.1 for colour in printed)


def test_a_plot_without_data_leaves_the_others(project: Path, browser: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(project, tmp_path / "project")
    path = folder / "metrics/plots/per_class.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    dvc(folder, "plots", "show")
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((folder / "dvc_plots/index.html").as_uri())
    page.wait_for_function("document.querySelectorAll('svg.marks').length == 8")
    assert "metrics_plots_per_class_csv: no data" in page.inner_text("main")
    assert errors == []


def test_recall_is_drawn_where_it_is_and_not_where_there_is_none(
    project: Path, browser: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(project, tmp_path / "project")
    with (folder / "metrics/plots/per_class.csv").open("a") as file:
        file.write("hop,0.0,,,,0.0,0\n")
    dvc(folder, "plots", "show")
    visit = Visit(browser, folder / "dvc_plots" / "index.html", theme="light")
    chart = "#metrics_plots_per_class_csv"
    assert "hop (0)" in [" ".join(t.split()) for t in visit.texts(chart.removeprefix("#"))]
    frame = f"{chart} .mark-group .background"
    width = visit.page.eval_on_selector(frame, "one => one.getBBox().width")
    places = visit.page.eval_on_selector_all(
        f"{chart} .mark-symbol.role-mark path",
        "all => all.map(one => one.getAttribute('transform'))",
    )
    shares = [float(re.findall(r"[\d.]+", place)[0]) / width for place in places]
    assert sorted(shares) == pytest.approx([0.75, 1.0], abs=0.01)
    lengths = visit.page.eval_on_selector_all(
        f"{chart} .mark-rule.role-mark line", "all => all.map(one => one.getAttribute('x2'))"
    )
    # The rules of jump and wave: 0.95 - 0.3 and 1 - 0.51, drawn from either end.
    found = sorted(abs(float(length)) / width for length in lengths)
    assert found == pytest.approx([0.49, 0.65], abs=0.01)
