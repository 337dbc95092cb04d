"""Numbers as people read them."""

from __future__ import annotations

import pytest

from slowfast_finetune.base.console import count
from slowfast_finetune.inspection.readable import (
    decimal,
    duration,
    interval,
    listed,
    part,
    percent,
)

THIN = "\u202f"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9792, "97.9 %"),
        (1.0, "100 %"),
        (0.9999, "99.9 %"),
        (0.0, "0 %"),
        (0.0001, "<0.1 %"),
        (-0.25, "−25 %"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text.replace(" ", THIN)


def test_words_for_numbers() -> None:
    assert interval(0.5, 0.75) == f"50{THIN}% to 75{THIN}%"
    assert interval(None, 0.75) == "–"
    values = [0.12345, 0.00002, 0.0, None]
    assert [decimal(value) for value in values] == ["0.123", "2.00e-05", "0.000", "–"]
    # Two learning rates of one run; with three decimals they were 0.002 and 0.001.
    assert [decimal(value) for value in (1.5e-3, 1.4e-3, 0.0972)] == ["0.0015", "0.0014", "0.0972"]
    assert count(1, "video") == "1 video"
    assert count(1200, "class", "classes") == f"1{THIN}200 classes"
    names = [listed(list(text)) for text in ("a", "ab", "abcde")]
    assert names == ["a", "a and b", "a, b, c and 2 more"]
    assert part(2, 731, "video") == f"2 of 731 videos (0.3{THIN}%)"


def test_durations() -> None:
    seconds = (0.4, 34, 720, 11_100, 400_000)
    assert [duration(s) for s in seconds] == ["0.4 s", "34 s", "12 min", "3 h 05 min", "5 days"]
