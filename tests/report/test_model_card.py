"""models/README.md: front matter that Hugging Face reads, the run's numbers, honest limits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from reported_run import Answer, Run, answers, write_run
from synthetic import make_params

from slowfast_finetune.evaluation.result_rows import headline
from slowfast_finetune.evaluation.result_tables import SCORES
from slowfast_finetune.inspection.findings import Finding
from slowfast_finetune.predicting.timeline_settings import TimelineSettings, settings_path
from slowfast_finetune.report.model_card import model_card
from slowfast_finetune.report.results import read_results

# Everything that means something in YAML or Markdown.
ODD = 'a|b: "c" #*_`<i>`\n- [x](y) \\ é'


def card_of(run: Run, *, findings: Sequence[Finding] = (), **sections: Any) -> str:
    params = make_params(**({"clip": {"num_frames": 8}} | sections))
    return model_card(read_results(run.files), params=params, findings=findings)


def parts_of(card: str) -> tuple[dict[str, Any], str]:
    """Front matter and Markdown."""
    empty, front, body = card.split("---\n", 2)
    assert empty == ""
    content: dict[str, Any] = yaml.safe_load(front)
    return content, body


def section(card: str, title: str) -> str:
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    assert found
    return found.group(1)


def write_three_of_four(folder: Path) -> Run:
    tests = [Answer("a", "a"), Answer("a", "b"), Answer("b", "b"), Answer("b", "b")]
    return write_run(folder, tests, class_names=["a", "b"])


@pytest.fixture(scope="module")
def three_of_four(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three of four videos right. Shared: change nothing in it."""
    return write_three_of_four(tmp_path_factory.mktemp("three_of_four"))


def test_the_card_tells_of_the_file_that_belongs_to_the_model(tmp_path: Path) -> None:
    run = write_three_of_four(tmp_path)
    assert "best_timeline.json" not in card_of(run)
    chosen = TimelineSettings(stride_seconds=0.5, num_videos=8, f1_25=0.625)
    settings_path(run.files.checkpoint).write_text(chosen.model_dump_json())
    use = section(card_of(run), "Use").replace("\u202f", " ").replace("\u00a0", " ")
    assert "`best_timeline.json` belongs to `best.pt`" in use
    assert "chosen on 8 validation videos, with F1 at IoU 0.25 of 62.5 % there. Copy both" in use


@pytest.mark.slow
def test_front_matter_is_what_hugging_face_asks_for(three_of_four: Run) -> None:
    front, _ = parts_of(card_of(three_of_four, data={"videos": "/home/me/my films"}))
    assert front["license"] == "unknown"
    assert front["pipeline_tag"] == "video-classification"
    assert front["library_name"] == "slowfast-finetune"
    assert "slowfast" in front["tags"]
    (entry,) = front["model-index"]
    (result,) = entry["results"]
    assert result["task"]["type"] == "video-classification"
    # Not the path: it would tell of the machine.
    assert result["dataset"] == {"type": "video-folder", "name": "my films", "split": "test"}
    metrics = {metric["type"]: metric["value"] for metric in result["metrics"]}
    # Three of four right; of a one of two, of b both; taken for b were three, two of them are.
    assert metrics["accuracy"] == 0.75
    assert metrics["recall"] == 0.75
    assert metrics["precision"] == 0.8333
    assert metrics["f1"] == 0.7333


def test_metrics_are_those_of_metrics_json(three_of_four: Run) -> None:
    rows = three_of_four.files.rows(SCORES)
    written = headline(rows)  # what evaluate puts into metrics.json
    front, _ = parts_of(card_of(three_of_four))
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert len(metrics) == 4
    for metric in metrics:
        name = {"accuracy": "top1_accuracy"}.get(metric["type"], f"macro_{metric['type']}")
        assert metric["value"] == written[name]


def test_tables(three_of_four: Run) -> None:
    card = card_of(three_of_four).replace("\u202f", " ")
    assert "\n| accuracy | 75 % | " in section(card, "Result")
    assert re.search(r"^\| a \| 50 % \| .*? \| 100 % \| 2 \|$", card, re.MULTILINE)
    assert re.search(r"^\| b \| 100 % \| .*? \| 66.7 % \| 2 \|$", card, re.MULTILINE)
    assert "| class | train | val | test | groups | length |" in card
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_odd_names_break_neither_yaml_nor_tables(tmp_path: Path) -> None:
    names = ["plain", ODD]
    run = write_run(tmp_path, answers(ODD, {ODD: 2}), class_names=sorted(names))
    card = card_of(run, data={"videos": f"/x/{ODD}".replace("\n", " ")})
    front, body = parts_of(card)
    assert (
        front["model-index"][0]["results"][0]["dataset"]["name"]
        == ODD.replace("\n", " ").split("/")[-1]
    )
    assert "---" not in re.sub(r"\| --- \|.*", "", body)
    # A pipe that is not escaped would be one cell more.
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1, block
    assert "<i>" not in body.replace("\\<i\\>", "")


def test_limits_name_groups_and_findings(three_of_four: Run) -> None:
    finding = Finding("problem", "copies", "3 copies lie in | two splits", "-")
    remark = Finding("note", "small", "a remark", "-")
    limits = section(card_of(three_of_four, findings=[remark, finding]), "Limits")
    assert "share no group" in limits
    assert "- Problem: 3 copies lie in \\| two splits" in limits
    assert "a remark" not in limits
    assert "found no problem" not in limits
    assert "found no problem" in section(card_of(three_of_four, findings=[remark]), "Limits")


def test_without_groups_the_card_says_that_the_result_may_flatter(tmp_path: Path) -> None:
    tests = [Answer("a", "a", changes={"group": None}), Answer("b", "b", changes={"group": None})]
    run = write_run(tmp_path, tests, class_names=["a", "b"])
    limits = section(card_of(run), "Limits")
    assert "No groups were configured" in limits
    assert "share no group" not in limits


def test_groups_on_both_sides_are_owned_up_to(three_of_four: Run) -> None:
    finding = Finding("problem", "group-on-both-sides", "Training has seen groups", "-")
    limits = section(card_of(three_of_four, findings=[finding]), "Limits")
    assert "Groups are in both the training and the test split" in limits
    assert "share no group" not in limits


def test_kinetics_is_named_where_it_was_used(three_of_four: Run) -> None:
    assert "Kinetics" not in card_of(three_of_four)
    used = card_of(three_of_four, model={"weights": "kinetics400", "name": "slowfast_r50"})
    assert "Kinetics-400" in section(used, "Licence")


def test_what_it_was_made_from(three_of_four: Run) -> None:
    made = section(card_of(three_of_four), "Made from")
    assert "- commit: 0123456789abcdef+changes" in made
    assert "- data digest: feed" in made
    assert "- torch: 9.9" in made
