"""The names of the files that `mlplab explain` writes, and the sentences about slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplab.terminal.output import digits

EXPLAIN_FILE = "explain.json"
LIGHT_PICTURE, DARK_PICTURE = "explain.png", "explain-dark.png"


def slice_lines(document: Mapping[str, Any]) -> list[str]:
    """Return the slices in explain.json as sentences, or that there is none."""
    error = document["error"]
    slices = document["slices"]
    if not slices:
        return [
            f"No slice of the rows has a significantly higher {error['name']} than the others"
            f" ({digits(error['value'])} overall)."
        ]
    return [
        f"{'worst' if i == 0 else 'also'}: {' and '.join(one['conditions'])}, {error['name']}"
        f" {digits(one['error'])} vs {digits(error['value'])} overall, n={one['rows']}"
        for i, one in enumerate(slices)
    ]
