"""The progress bar of a terminal.

Imported only by jobs that last long enough to need one: it needs rich, which takes 50 ms to import.
"""

from __future__ import annotations

from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_MIN_BAR_WIDTH, _MAX_BAR_WIDTH = 8, 30
_GAP = 2
_MAX_NAME_WIDTH = 24


class Bar:
    """One line at the bottom of the terminal; other output is printed above it."""

    def __init__(self, stream: TextIO, name: str, total: int, unit: str) -> None:
        self._console = Console(file=stream, force_terminal=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._name = (
            name
            if cell_len(name) <= _MAX_NAME_WIDTH
            else set_cell_size(name, _MAX_NAME_WIDTH - 1) + "…"
        )
        self._total, self._unit = total, unit
        self._live.start()

    def draw(self, done: int, reached: float, clock: str, numbers: list[str]) -> None:
        """Show the line with as many fields as fit; `reached` (of the total) sets the length of the
        bar.
        """
        name, texts, width = self._layout(done, clock, numbers)
        grid = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
        cells: list[Text | ProgressBar] = [Text(name, "bold", no_wrap=True)] if name else []
        if width >= _MIN_BAR_WIDTH:
            cells.append(
                ProgressBar(
                    self._total, reached, width, complete_style="cyan", finished_style="green"
                )
            )
        cells += [Text(text, no_wrap=True) for text in texts]
        grid.add_row(*cells)
        self._live.update(grid, refresh=True)

    def _layout(self, done: int, clock: str, numbers: list[str]) -> tuple[str, list[str], int]:
        """The longest layout that leaves room for the bar: (name, texts after the bar, width of the
        bar).
        """
        count = f"{done}/{self._total}"
        forms = [
            (self._name, [f"{count} {self._unit}", clock, *numbers]),
            ("", [f"{count} {self._unit}", clock, *numbers]),
            *(("", [count, clock, *numbers[:shown]]) for shown in range(len(numbers), -1, -1)),
        ]
        for name, texts in forms:
            used = sum(cell_len(text) + _GAP for text in [name, *texts] if text)
            width = min(_MAX_BAR_WIDTH, self._console.width - 1 - used)
            if width >= _MIN_BAR_WIDTH:
                break
        return name, texts, width

    def close(self) -> None:
        """Remove the line."""
        self._live.stop()
