"""The findings of a run as text, from its summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplab.terminal.output import plain
from mlplab.terminal.suggested import rerun_command


def health_lines(summary: Mapping[str, Any], folder: Path | None = None) -> list[str]:
    """Return a paragraph for each finding: the cause, its numbers and what helps; empty for a
    healthy run. `folder` is the run's, which the command that helps names.
    """
    findings = summary.get("health")
    lines = []
    for finding in findings if isinstance(findings, list) else ():
        if not isinstance(finding, dict):
            continue
        text = {key: plain(str(finding.get(key) or "")) for key in ("title", "cause", "advice")}
        opening = (
            f"Diverged at step {summary.get('steps')} because {text['cause']}"
            if summary.get("status") == "diverged"
            else f"Health: {text['title']}: {text['cause']}"
        )
        lines.append(f"{opening}. Measured: {_numbers(finding)}.")
        if remedy := _remedy(finding, folder, text["advice"]):
            lines.append(remedy)
    return lines


def _numbers(finding: Mapping[str, Any]) -> str:
    numbers = finding.get("numbers")
    return "; ".join(
        f"{plain(str(one.get('name')))} {_value(one.get('value'))}"
        f" (healthy: {plain(str(one.get('healthy')))})"
        for one in (numbers if isinstance(numbers, list) else ())
        if isinstance(one, dict)
    )


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) else "not finite"


def _remedy(finding: Mapping[str, Any], folder: Path | None, advice: str) -> str:
    overrides = finding.get("overrides")
    texts = [plain(str(text)) for text in overrides] if isinstance(overrides, list) else []
    if not texts:
        return advice
    tried = rerun_command(folder, texts) if folder is not None else " ".join(texts)
    return f"Try: {tried}" + (f"\n{advice}" if advice else "")
