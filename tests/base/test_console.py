"""What is shown while something runs: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys

import pytest

from slowfast_finetune.base.console import ProgressBar, printable, progress, run


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def test_without_a_terminal_there_is_a_line_every_thirty_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with ProgressBar("epoch 3/20", total=800, done=200, unit="clip") as bar:
        for _ in range(65):
            clock.now += 1
            bar.advance(2, note="waiting for data 3%")
    # 60 clips in 30 s are two a second; 540 and then 480 of the 800 are left.
    assert capsys.readouterr() == (
        "",
        "epoch 3/20: 260 of 800, 2 clip/s, 0:04:30 left, waiting for data 3%\n"
        "epoch 3/20: 320 of 800, 2 clip/s, 0:04:00 left, waiting for data 3%\n",
    )


def test_what_is_quick_or_hidden_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    for _ in progress(range(29), total=29, label="decoding"):
        clock.now += 1
    with ProgressBar("hidden", total=3, hidden=True) as bar:
        clock.now += 100
        bar.advance(1)
    assert capsys.readouterr() == ("", "")


def test_a_total_that_is_not_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with ProgressBar("downloading", total=None, unit="B") as bar:
        clock.now += 40
        bar.advance(4_000_000)
    assert capsys.readouterr().err == "downloading: 4,000,000, 1e+05 B/s\n"


def test_on_a_terminal_there_is_a_bar_that_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress([1, 2], total=2, label="decoding")) == [1, 2]
    shown = terminal.getvalue()
    assert "decoding" in shown
    assert "\n" not in shown
    assert shown.rsplit("\r", 2)[1].strip() == ""


@pytest.mark.parametrize(
    ("name", "shown"), [("a b é", "a b é"), ("a\nb", "a\\nb"), ("\x1b[2Jx", "\\x1b[2Jx")]
)
def test_a_name_stays_on_one_line(name: str, shown: str) -> None:
    assert printable(name) == shown


@pytest.mark.process
@pytest.mark.parametrize(
    "work", ["[say(str(number)) for number in range(100000)]", "print('x' * 1000)"]
)
def test_a_closed_output_ends_a_command_without_a_word(work: str) -> None:
    """As in ``| head -1``: whether it writes at once, or when Python exits."""
    code = f"from slowfast_finetune.base.console import run, say\nrun(lambda: {work})"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize(("stage", "last"), [("train", ""), (None, "go on\n")])
def test_a_stage_ends_with_the_dvc_that_started_it(stage: str | None, last: str) -> None:
    code = (
        "from slowfast_finetune.base.console import run, say\n"
        "def main():\n    say('started')\n    say(input())\n"
        "run(main)"
    )
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    environment |= {} if stage is None else {"DVC_STAGE": stage}
    with subprocess.Popen(
        [sys.executable, "-c", start],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as dvc:
        assert dvc.stdin is not None
        assert dvc.stdout is not None
        assert dvc.stdout.readline() == "started\n"
        dvc.kill()
        dvc.wait()
        # The output ends when the last process that can write it has ended.
        if stage is None:
            dvc.stdin.write("go on\n")
            dvc.stdin.flush()
        assert select.select([dvc.stdout], [], [], 30)[0]
        assert dvc.stdout.readline() == last


def test_a_broken_pipe_elsewhere_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(SystemExit) as ended:
        run(work)
    assert ended.value.code == 1
    assert capfd.readouterr().err == "error: Broken pipe\n"
