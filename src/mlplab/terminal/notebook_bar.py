"""The progress bar of a notebook: one output of the cell, which is replaced as the job proceeds."""

from __future__ import annotations

import html
from typing import Any

_WIDTH = 220  # pixels


class NotebookBar:
    """One line of HTML below the cell; other output is printed above or below it."""

    def __init__(self, name: str, total: int, unit: str) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._handle: Any = None

    def draw(self, done: int, reached: float, clock: str, numbers: list[str]) -> None:
        """Show the line; `reached` (of the total) sets the length of the bar."""
        texts = [f"{done:,}/{self._total:,} {self._unit}", clock, *numbers]
        share = min(1.0, max(0.0, reached / self._total)) if self._total else 1.0
        self._show(
            '<div style="font:13px system-ui,sans-serif;white-space:nowrap;overflow:hidden">'
            f"<b>{html.escape(self._name)}</b>"
            f'<span style="display:inline-block;width:{_WIDTH}px;height:8px;margin:0 .7em;'
            'border-radius:4px;background:rgba(128,128,128,.3)">'
            f'<span style="display:block;width:{share:.1%};height:8px;border-radius:4px;'
            'background:#2b8fd6"></span></span>'
            f"{html.escape(' · '.join(texts))}</div>"
        )

    def close(self) -> None:
        """Remove the line."""
        if self._handle is not None:
            self._show("")

    def _show(self, text: str) -> None:
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(text), display_id=True)
        else:
            self._handle.update(HTML(text))
