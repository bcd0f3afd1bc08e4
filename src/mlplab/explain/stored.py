"""The files that `mlplab explain` writes, and the sentences about slices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplab.io.reading import read_json, reading
from mlplab.terminal.output import digits

EXPLAIN_FILE = "explain.json"
FORMAT = "mlplab-explain-1"
REMEDY = "`mlplab explain` writes it again."
LIGHT_PICTURE, DARK_PICTURE = "explain.png", "explain-dark.png"


def read_explanation(folder: Path) -> dict[str, Any]:
    """Return explain.json of a run. Raises DamagedFileError if it cannot be read, or was written by
    a version of mlplab with another form of it.
    """
    path = folder / EXPLAIN_FILE
    content = read_json(path, REMEDY)
    with reading(path, REMEDY):
        if content["format"] != FORMAT:
            raise ValueError(
                f"its format is {content['format']!r}, and this version of mlplab reads {FORMAT}"
            )
    return content


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
