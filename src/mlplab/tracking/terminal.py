"""What a person sees while a run trains and when it ends: a bar and colors on a terminal, plain
lines elsewhere.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from mlplab.tracking.bar import Bar

_BAR_AFTER = 0.5  # seconds: a shorter job shows no bar, and never imports what draws it
_BAR_EVERY = 0.1
_LINE_AFTER = 2.0
_LINE_EVERY = 5.0
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b.?", re.DOTALL)
_SPLITS = ("train", "val", "test")
_BOLD, _DIM, _RED, _GREEN, _YELLOW = "1", "2", "31", "32", "33"
_VERDICTS = {
    "done": ("done in", _GREEN),
    "diverged": ("diverged after", _RED),
    "interrupted": ("interrupted after", _YELLOW),
}


class Progress:
    """How far a run is, on the error stream: a bar on a terminal, now and then a line elsewhere;
    nothing for a short run.

    `update` may be called as often as one likes: between two drawings it only looks at the clock.
    """

    def __init__(
        self,
        total: int,
        description: str,
        quiet: bool = False,
        unit: str = "epochs",
        stream: TextIO | None = None,
    ) -> None:
        self.total, self.description, self.quiet, self.unit = total, plain(description), quiet, unit
        self._stream = sys.stderr if stream is None else stream
        self._terminal = is_terminal(self._stream)
        self._start = time.monotonic()
        self._next = self._start + (_BAR_AFTER if self._terminal else _LINE_AFTER)
        self._bar: Bar | None = None

    def update(
        self,
        done: int,
        values: Mapping[str, float] | None = None,
        under_way: float = 0.0,
        remark: str = "",
    ) -> None:
        """`done` of the total are done; the first two of the values are shown, or the remark.

        `under_way`: how much of the others is done already, all in all. The bar and the time left
        count it, the number of done ones does not.
        """
        now = time.monotonic()
        if self.quiet or now < self._next:
            return
        elapsed = now - self._start
        numbers = [
            f"{plain(name)} {digits(value)}" for name, value in list((values or {}).items())[:2]
        ]
        numbers += [plain(remark)] if remark else []
        reached = done + under_way
        left = elapsed / reached * (self.total - reached) if reached else None
        if self._terminal:
            self._draw(done, reached, elapsed, left, numbers)
        else:
            clock = [duration(elapsed)] + ([f"{duration(left)} left"] if left is not None else [])
            say(
                ", ".join(
                    [f"{self.description}: {done}/{self.total} {self.unit}", *clock, *numbers]
                ),
                self._stream,
            )
        self._next = now + (_BAR_EVERY if self._terminal else _LINE_EVERY)

    def _draw(
        self, done: int, reached: float, elapsed: float, left: float | None, numbers: list[str]
    ) -> None:
        if self._bar is None:
            from mlplab.tracking.bar import Bar

            self._bar = Bar(
                self._stream, _encodable(self.description, self._stream), self.total, self.unit
            )
        clock = _clock(elapsed) + (f", {_clock(left)} left" if left is not None else "")
        self._bar.draw(
            done, reached, clock, [_encodable(number, self._stream) for number in numbers]
        )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def note(text: str) -> None:
    """A warning or a remark, as one paragraph on the error stream; above the bar where there is
    one.
    """
    stream = sys.stderr
    say(_paint("note: ", _YELLOW, stream) + plain(text), stream)


def print_result(summary: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """The end of a run: a table of the metrics, a row a part of the data, and one line that says
    how it went.
    """
    stream = sys.stdout if stream is None else stream
    for line in [*_table(summary.get("metrics") or {}, stream), _verdict(summary, stream)]:
        say(line, stream, strict=True)
    stream.flush()


def _table(metrics: Mapping[str, float | None], stream: TextIO) -> list[str]:
    """Aligned columns, as many side by side as the terminal is wide."""
    table: dict[str, dict[str, str]] = {}
    for key, value in metrics.items():
        split, _, name = plain(key).rpartition("/")
        table.setdefault(name, {})[split] = "-" if value is None else digits(value)
    found = dict.fromkeys(split for cells in table.values() for split in cells)
    splits = sorted(
        found, key=lambda split: _SPLITS.index(split) if split in _SPLITS else len(_SPLITS)
    )
    widths = {name: max(map(len, (name, *cells.values()))) for name, cells in table.items()}
    first = max(map(len, splits), default=0)
    lines = []
    for block in _blocks(
        widths, first, shutil.get_terminal_size().columns if is_terminal(stream) else None
    ):
        lines.append(
            _paint(
                " " * first + "".join(f"  {name:>{widths[name]}}" for name in block), _DIM, stream
            )
        )
        for split in splits:
            line = f"{split:<{first}}" + "".join(
                f"  {table[name].get(split, '-'):>{widths[name]}}" for name in block
            )
            lines.append(_paint(line, _BOLD, stream) if split == "test" else line)
    return lines


def _blocks(widths: Mapping[str, int], first: int, limit: int | None) -> list[list[str]]:
    """The columns that stand side by side, block by block."""
    blocks: list[list[str]] = []
    used = 0
    for name, width in widths.items():
        if not blocks or (limit is not None and used + 2 + width > limit):
            blocks.append([])
            used = first
        blocks[-1].append(name)
        used += 2 + width
    return blocks


def _verdict(summary: Mapping[str, Any], stream: TextIO) -> str:
    """For example: done in 1.3 s: 200 epochs, best epoch 187, 74 parameters, cpu"""
    status = plain(str(summary.get("status", "done")))
    words, color = _VERDICTS.get(status, (f"{status} after", _RED))
    facts = [
        _count(summary.get("epochs"), "epoch"),
        f"best epoch {summary['best_epoch']}" if summary.get("best_epoch") is not None else None,
        _count(summary.get("num_parameters"), "parameter"),
        (
            f"one of {summary['population']} trained together"
            if (summary.get("population") or 1) > 1
            else None
        ),
        plain(str(summary["device"])) if summary.get("device") else None,
    ]
    said = ", ".join(fact for fact in facts if fact)
    return _paint(f"{words} {duration(summary.get('seconds') or 0.0)}", color, stream) + (
        f": {said}" if said else ""
    )


def _count(number: int | None, noun: str) -> str | None:
    return None if number is None else f"{number:,} {noun}{'' if number == 1 else 's'}"


def digits(value: float) -> str:
    """Four significant digits: 0.9500, 12.34, 1.234e-05, nan."""
    return f"{value:#.4g}".rstrip(".")


def duration(seconds: float) -> str:
    """1.3 s, 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    return (
        f"{hours}{whole % 3600 // 60:02d}:{whole % 60:02d}"
        if hours
        else f"{whole // 60}:{whole % 60:02d}"
    )


def plain(text: str) -> str:
    """The text on one line without escape sequences and control characters, so that a name cannot
    steer the terminal.
    """
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+", " ", _ESCAPES.sub("", text)
    )


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches the stream on something that can move its cursor."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    except ValueError:  # closed
        return False


def _paint(text: str, code: str, stream: TextIO) -> str:
    return (
        f"\x1b[{code}m{text}\x1b[0m"
        if is_terminal(stream) and not os.environ.get("NO_COLOR")
        else text
    )


def _encodable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def say(text: str, stream: TextIO, *, strict: bool = False) -> None:
    """Print a line. Unless `strict`, a stream that nobody reads any more is no reason to fail."""
    try:
        print(_encodable(text, stream), file=stream, flush=True)
    except (OSError, ValueError):
        if strict:
            raise
