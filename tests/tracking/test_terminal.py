"""What a person sees: nothing for short runs, plain lines in a pipe, a bar and colors on a
terminal, and never an escape from a name.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from timing import cheapest

from mlplab.terminal import progress
from mlplab.terminal.output import digits, duration, note, plain
from mlplab.terminal.progress import Progress
from mlplab.terminal.results import print_result

SUMMARY = {
    "status": "done",
    "device": "cpu",
    "epochs": 200,
    "best_epoch": 187,
    "num_parameters": 1074,
    "seconds": 1.31,
    "population": 1,
    "metrics": {
        "test/loss": 0.5,
        "train/loss": 0.01234,
        "train/accuracy": 1.0,
        "val/accuracy": 0.95,
        "test/accuracy": 0.925,
    },
}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def run(clock: list[float], stream: io.StringIO, seconds: float, *, quiet: bool = False) -> str:
    with Progress(100, "radial", quiet, stream=stream) as bar:
        for done in range(1, 101):
            clock[0] += seconds / 100
            bar.update(done, {"train/loss": 0.123456, "val/accuracy": 1.0, "val/f1": 0.5})
    return stream.getvalue()


def test_a_pipe_gets_no_line_for_a_short_run_and_few_for_a_long_one(clock: list[float]) -> None:
    assert run(clock, io.StringIO(), 1.99) == ""
    lines = run(clock, io.StringIO(), 20).splitlines()
    assert (
        lines[0] == "radial: 10/100 epochs, 2.0 s, 18 s left, train/loss 0.1235, val/accuracy 1.000"
    )
    assert [line.split()[1] for line in lines] == ["10/100", "35/100", "60/100", "85/100"]
    assert run(clock, io.StringIO(), 20, quiet=True) == ""


def test_a_terminal_gets_a_bar_only_after_half_a_second(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    assert run(clock, Terminal(), 0.45) == ""
    assert run(clock, Terminal(), 3, quiet=True) == ""
    shown = run(clock, Terminal(), 3)
    assert "━" in shown
    assert "train/loss 0.1235  val/accuracy 1.000" in shown
    assert 10 < shown.count("epochs") < 35  # not once an update
    assert shown.rstrip().endswith("\x1b[2K")  # taken away at the end


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_the_bar_fits_on_one_line(
    width: int, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    for frame in run(clock, Terminal(), 3).split("\r")[1:]:
        text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", frame).rstrip("\n")
        assert "\n" not in text
        assert len(text) <= width
        if width >= 80:
            assert not text or ("val/accuracy 1.000" in text and "left" in text)


def test_the_bar_is_not_imported_for_a_pipe_or_a_short_run() -> None:
    script = (
        "import sys; from mlplab.terminal.progress import Progress\n"
        "with Progress(3, 'x') as bar:\n"
        "    bar.update(1, {'a': 1.0})\n"
        "heavy = ('rich', 'torch', 'tensorboard')\n"
        "assert not [name for name in sys.modules if name.startswith(heavy)]\n"
    )
    source = str(Path(progress.__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": source}
    )


def test_a_note_is_one_plain_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    note("first\nsecond \x1b[31mred\x1b[0m")
    assert capsys.readouterr().err == "note: first second red\n"


def test_a_note_goes_above_the_bar() -> None:
    script = (
        "import time; from mlplab.terminal.output import note\n"
        "from mlplab.terminal.progress import Progress\n"
        "with Progress(3, 'job') as bar:\n"
        "    time.sleep(0.6); bar.update(1); note('hear'); bar.update(2)\n"
    )
    master, slave = pty.openpty()
    source = str(Path(progress.__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": source, "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", script], check=True, env=env, stderr=slave, stdout=slave)
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert re.search(r"\x1b\[2K\S*note: \S*hear", shown)  # the line of the bar is wiped first


def test_the_result_is_an_aligned_table_and_a_verdict() -> None:
    stream = io.StringIO()
    print_result(SUMMARY, stream)
    assert (
        stream.getvalue() == "          loss  accuracy\n"
        "train  0.01234     1.000\n"
        "val          -    0.9500\n"
        "test    0.5000    0.9250\n"
        "done in 1.3 s: 200 epochs, best epoch 187, 1,074 parameters, cpu\n"
    )


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        (
            {"status": "diverged", "epochs": 1, "best_epoch": None},
            "diverged after 1.3 s: 1 epoch, 1,074 parameters, cpu",
        ),
        (
            {"status": "failed", "seconds": 200.0, "device": None},
            "failed after 3 min 20 s: 200 epochs, best epoch 187, 1,074 parameters",
        ),
        (
            {"population": 64, "best_epoch": None},
            "done in 1.3 s: 200 epochs, 1,074 parameters, one of 64 trained together, cpu",
        ),
    ],
)
def test_the_verdict_says_how_it_went(changes: dict[str, object], verdict: str) -> None:
    stream = io.StringIO()
    print_result({**SUMMARY, **changes}, stream)
    assert verdict in stream.getvalue().splitlines()


def test_a_result_without_metrics_or_with_missing_ones_is_printed() -> None:
    stream = io.StringIO()
    print_result({"status": "failed"}, stream)
    print_result({"metrics": {"train/loss": None, "train/r2": float("nan")}}, stream)
    assert (
        stream.getvalue() == "failed after 0.0 s\n"
        "       loss   r2\n"
        "train     -  nan\n"
        "done in 0.0 s\n"
    )


def test_color_only_on_a_terminal_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown, piped, bare = Terminal(), io.StringIO(), Terminal()
    print_result(SUMMARY, shown)
    print_result(SUMMARY, piped)
    monkeypatch.setenv("NO_COLOR", "1")
    print_result(SUMMARY, bare)
    assert "\x1b[32mdone in" in shown.getvalue()
    assert "\x1b" not in piped.getvalue() + bare.getvalue()
    assert re.sub(r"\x1b\[\d+m", "", shown.getvalue()) == piped.getvalue() == bare.getvalue()
    monkeypatch.setenv("FORCE_COLOR", "1")
    both, forced = io.StringIO(), io.StringIO()
    print_result(SUMMARY, both)
    monkeypatch.delenv("NO_COLOR")
    print_result(SUMMARY, forced)
    assert both.getvalue() == piped.getvalue()
    assert forced.getvalue() == shown.getvalue()


def test_a_wide_table_is_broken_at_the_edge_of_a_terminal_and_not_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "50")
    metrics = {f"test/metric_{n:02d}": float(n) for n in range(12)}
    shown, piped = Terminal(), io.StringIO()
    print_result({"metrics": metrics}, shown)
    print_result({"metrics": metrics}, piped)
    assert max(map(len, shown.getvalue().splitlines())) <= 50
    assert len(piped.getvalue().splitlines()) == 3
    assert all(f"metric_{n:02d}" in shown.getvalue() for n in range(12))


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[2Jx",
        "\x1b]0;title\x07x",
        "\x1bcx",
        "\x9b2Jx",
        "\x1b[31mx",
        "x\x1b",
        "\u202ex\r\n",
        "\x1b]8;;http://a\x1b\\x",
    ],
)
def test_escapes_in_names_do_not_reach_the_terminal(hostile: str, clock: list[float]) -> None:
    assert re.sub("[ -~]", "", plain(hostile)) == ""
    assert "x" in plain(hostile)
    stream = io.StringIO()
    with Progress(10, hostile, stream=stream) as bar:
        clock[0] += 3
        bar.update(1, {hostile: 1.0})
    print_result(
        {"status": hostile, "device": hostile, "metrics": {f"test/{hostile}": 1.0}}, stream
    )
    assert re.sub("[ -~\n]", "", stream.getvalue()) == ""


def test_a_stream_that_cannot_write_the_name_gets_question_marks(clock: list[float]) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with Progress(10, "größe \udcff", stream=stream) as bar:
        clock[0] += 3
        bar.update(1)
    print_result({"metrics": {"test/größe": 1.0}}, stream)
    assert b"gr??e ?: 1/10" in stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_closed_error_stream_does_not_stop_a_run(clock: list[float]) -> None:
    stream = io.StringIO()
    with Progress(10, "x", stream=stream) as bar:
        stream.close()
        clock[0] += 3
        bar.update(1)


def test_numbers_read_well() -> None:
    assert [digits(x) for x in (0.95, 12.345, 1234.4, 1e-5, 123456, 0, float("inf"))] == [
        "0.9500",
        "12.35",
        "1234",
        "1.000e-05",
        "1.235e+05",
        "0.000",
        "inf",
    ]
    assert [duration(s) for s in (0, 9.94, 9.96, 59.6, 60, 3599.7, 7500)] == [
        "0.0 s",
        "9.9 s",
        "10 s",
        "1 min 00 s",
        "1 min 00 s",
        "1 h 00 min",
        "2 h 05 min",
    ]


@pytest.mark.campaign("timing")
def test_an_update_between_two_drawings_is_cheap() -> None:
    with Progress(100, "x", stream=io.StringIO()) as bar:
        assert (
            cheapest(
                lambda: [bar.update(done % 100, {"a": 1.0}) for done in range(2000)], attempts=3
            )
            < 0.02
        )


def test_a_diverged_run_says_why_and_what_helps(capsys):
    reason = "objective or weights were not finite at step 7; the last finite train/loss was 3"
    print_result({**SUMMARY, "status": "diverged", "reason": reason})
    *_, why, remedy = capsys.readouterr().out.splitlines()
    assert why.startswith(reason)
    assert all(
        key in remedy
        for key in ("optimizer.lr", "training.clip_norm=1", "dataset.scaling=standard")
    )
    print_result(SUMMARY)
    assert "Try" not in capsys.readouterr().out
