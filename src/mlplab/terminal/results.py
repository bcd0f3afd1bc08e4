"""The result of a run on the terminal: a table of its metrics and one line of status."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

from mlplab.terminal.output import (
    BOLD,
    DIM,
    GREEN,
    RED,
    YELLOW,
    count,
    digits,
    duration,
    paint,
    plain,
    say,
    terminal_width,
)
from mlplab.terminal.table import aligned

_SPLITS = ("train", "val", "test")
_VERDICTS = {
    "done": ("done in", GREEN),
    "diverged": ("diverged after", RED),
    "interrupted": ("interrupted after", YELLOW),
}


def print_result(summary: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print the metrics of a run as a table with one row per split, and one line of status.

    `summary` is the content of summary.json. Raises OSError if the stream cannot be written to.
    """
    stream = sys.stdout if stream is None else stream
    table = _table(summary.get("metrics") or {}, stream)
    for line in [*table, _verdict(summary, stream), *remedy(summary)]:
        say(line, stream, strict=True)
    stream.flush()


def digits_by_split(
    metrics: Mapping[str, float | None],
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the splits in order, and the numbers as text: name of the metric -> split -> digits.

    `metrics` has the keys "split/name".
    """
    table: dict[str, dict[str, str]] = {}
    for key, value in metrics.items():
        split, _, name = plain(key).rpartition("/")
        table.setdefault(name, {})[split] = "-" if value is None else digits(value)
    splits = dict.fromkeys(split for cells in table.values() for split in cells)
    return (
        sorted(
            splits, key=lambda split: _SPLITS.index(split) if split in _SPLITS else len(_SPLITS)
        ),
        table,
    )


def _table(metrics: Mapping[str, float | None], stream: TextIO) -> list[str]:
    """Aligned columns, as many side by side as fit the width of the terminal."""
    splits, table = digits_by_split(metrics)
    widths = {name: max(map(len, (name, *cells.values()))) for name, cells in table.items()}
    first = max(map(len, splits), default=0)
    lines = []
    for group in _column_groups(widths, first, terminal_width(stream)):
        rows = [[split, *(table[name].get(split, "-") for name in group)] for split in splits]
        header, *body = aligned([["", *group], *rows], left=[0])
        lines += [
            paint(header, DIM, stream),
            *(
                paint(line, BOLD, stream) if split == "test" else line
                for split, line in zip(splits, body, strict=True)
            ),
        ]
    return lines


def _column_groups(widths: Mapping[str, int], first: int, limit: int | None) -> list[list[str]]:
    """The columns in groups that fit side by side."""
    groups: list[list[str]] = []
    used = 0
    for name, width in widths.items():
        if not groups or (limit is not None and used + 2 + width > limit):
            groups.append([])
            used = first
        groups[-1].append(name)
        used += 2 + width
    return groups


def remedy(summary: Mapping[str, Any]) -> list[str]:
    """Return why a run diverged, and what helps; nothing for other runs."""
    if summary.get("status") != "diverged":
        return []
    reason = (
        f"{plain(str(summary.get('reason') or 'a number was not finite'))}; the metrics are those"
        " of the best epoch before."
    )
    if summary.get("health"):  # which says more
        return [reason]
    return [
        reason,
        "Try a smaller optimizer.lr, training.clip_norm=1, or, for unscaled data,"
        " dataset.scaling=standard and dataset.target_scaling=standard.",
    ]


def verdict(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Return how a run ended, and facts: ("done in 1.3 s", "200 epochs, best epoch 187, cpu")."""
    status = plain(str(summary.get("status", "done")))
    prefix, _ = _VERDICTS.get(status, (f"{status} after", RED))
    reason = plain(str(summary.get("reason") or ""))
    facts = [
        reason if reason.startswith("stopped: ") and status == "done" else None,
        count(summary["epochs"], "epoch") if summary.get("epochs") is not None else None,
        f"best epoch {summary['best_epoch']}" if summary.get("best_epoch") is not None else None,
        (
            count(summary["num_parameters"], "parameter")
            if summary.get("num_parameters") is not None
            else None
        ),
        (
            f"calibrated with temperature {digits(summary['temperature'])}"
            if summary.get("temperature") is not None
            else None
        ),
        (
            f"{summary['members_selected']} of {summary['members']} members selected"
            if "members_selected" in summary
            else f"one of {summary['population']} trained together"
            if (summary.get("population") or 1) > 1
            else None
        ),
        plain(str(summary["device"])) if summary.get("device") else None,
        "native engine" if summary.get("engine") == "native" else None,
    ]
    details = ", ".join(fact for fact in facts if fact)
    return f"{prefix} {duration(summary.get('seconds') or 0.0)}", details


def _verdict(summary: Mapping[str, Any], stream: TextIO) -> str:
    """For example: done in 1.3 s: 200 epochs, best epoch 187, 74 parameters, cpu."""
    ending, facts = verdict(summary)
    _, color = _VERDICTS.get(plain(str(summary.get("status", "done"))), ("", RED))
    return paint(ending, color, stream) + (f": {facts}" if facts else "")
