"""The progress of a run or sweep: a bar on a terminal and in a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, TextIO

from mlplab.terminal import modes
from mlplab.terminal.notebook_bar import NotebookBar
from mlplab.terminal.output import (
    clock,
    digits,
    duration,
    encodable,
    in_notebook,
    is_terminal,
    plain,
    say,
)

if TYPE_CHECKING:
    from mlplab.terminal.bar import Bar

_BAR_AFTER = 0.5  # seconds: a shorter job shows no bar and never imports rich
_BAR_EVERY = 0.1
_NOTEBOOK_EVERY = 0.25  # each drawing is a message to the browser
_LINE_AFTER = 2.0
_LINE_EVERY = 5.0


class Progress:
    """The progress of a run on the error stream: a bar on a terminal or in a notebook, occasional
    lines elsewhere, nothing for a short run.

    `update` is cheap: between two drawings it only reads the clock.
    """

    def __init__(
        self,
        total: int,
        description: str,
        quiet: bool = False,
        unit: str = "epochs",
        stream: TextIO | None = None,
    ) -> None:
        self.total, self.description, self.unit = total, plain(description), unit
        self.quiet = quiet or modes.is_quiet()
        self._stream = sys.stderr if stream is None else stream
        self._notebook = stream is None and in_notebook()
        self._every = (
            _NOTEBOOK_EVERY
            if self._notebook
            else _BAR_EVERY
            if is_terminal(self._stream)
            else _LINE_EVERY
        )
        self._has_bar = self._every != _LINE_EVERY
        self._start = time.monotonic()
        self._next = self._start + (_BAR_AFTER if self._has_bar else _LINE_AFTER)
        self._bar: Bar | NotebookBar | None = None

    def update(
        self,
        done: int,
        values: Mapping[str, float] | None = None,
        in_progress: float = 0.0,
        remark: str = "",
        seconds_left: float | None = None,
    ) -> None:
        """Report that `done` of the total units are finished; shows the first two values and the
        remark.

        `in_progress` is the finished fraction of the remaining units, summed. It counts for the bar
        and the time left, not for the number of finished units. Without `seconds_left`, all units
        are assumed to take the same time.
        """
        now = time.monotonic()
        if self.quiet or now < self._next:
            return
        elapsed = now - self._start
        fields = [
            *(f"{plain(name)} {digits(value)}" for name, value in list((values or {}).items())[:2]),
            *([plain(remark)] if remark else []),
        ]
        reached = done + in_progress
        left = seconds_left
        if left is None and reached:
            left = elapsed / reached * (self.total - reached)
        if self._has_bar:
            self._draw(done, reached, elapsed, left, fields)
        else:
            times = [duration(elapsed)] + ([f"{duration(left)} left"] if left is not None else [])
            say(
                ", ".join(
                    [f"{self.description}: {done}/{self.total} {self.unit}", *times, *fields]
                ),
                self._stream,
            )
        self._next = now + self._every

    def _draw(
        self, done: int, reached: float, elapsed: float, left: float | None, fields: list[str]
    ) -> None:
        if self._bar is None and self._notebook:
            self._bar = NotebookBar(self.description, self.total, self.unit)
        elif self._bar is None:
            from mlplab.terminal.bar import Bar

            self._bar = Bar(
                self._stream, encodable(self.description, self._stream), self.total, self.unit
            )
        times = clock(elapsed) + (f", {clock(left)} left" if left is not None else "")
        self._bar.draw(done, reached, times, [encodable(field, self._stream) for field in fields])

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
