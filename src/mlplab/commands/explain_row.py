"""`mlplab explain DIR [FILE] --row N`: what moves one prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.commands.table_output import print_document

if TYPE_CHECKING:
    from mlplab.data.preparation.raw_rows import RawRows
    from mlplab.data.tabular.sniffing import Format
    from mlplab.explain.attribution import Attribution
    from mlplab.model.preprocessing import Preprocessing

MAX_LINES = 20


def print_attributions(folder: Path, results: Sequence[Attribution], as_json: bool) -> None:
    """Print attributions as a table, or as one document."""
    if as_json:
        document = {"folder": str(folder), "outputs": [one.to_json() for one in results]}
        print_document("explain-row", document)
        return
    print("\n\n".join("\n".join(attribution_lines(one)) for one in results))


def attribution_lines(result: Attribution) -> list[str]:
    """Return an attribution as lines for a terminal."""
    from mlplab.terminal.output import rounded
    from mlplab.terminal.table import aligned

    finest = max(max(one.error for one in result.contributions), 1e-3 * abs(result.prediction))

    def signed(value: float) -> str:
        return ("+" if value >= 0 else "") + rounded(value, finest)

    shown = result.contributions[:MAX_LINES]
    rest = sum(one.value for one in result.contributions[MAX_LINES:])
    table = [["mean of the rows", "", rounded(result.mean, finest), ""]]
    table += [
        [one.column, one.cell[:30], signed(one.value), f"± {rounded(one.error, one.error)}"]
        for one in shown
    ]
    if len(shown) < len(result.contributions):
        num_others = len(result.contributions) - len(shown)
        table.append([f"{num_others} other columns", "", signed(rest), ""])
    table.append([f"row {result.row}", "", rounded(result.prediction, finest), ""])
    return [
        f"{result.output} of row {result.row}, compared with {result.description}",
        *aligned([["", "cell", "contribution", "standard error"], *table], left=[0, 1]),
    ]


def unlabeled_rows(preprocessing: Preprocessing, path: Path, form: Format) -> RawRows:
    """Return the rows of a file, which needs no target. Raises DataError."""
    import numpy as np

    from mlplab.commands.labeled_file import raw_rows
    from mlplab.data.tabular.streaming import read_chunks

    chunks = list(read_chunks(path, form, preprocessing.encoder))
    import pandas as pd  # here, since reading names the extra if it is missing

    frame = pd.concat(chunks)
    return raw_rows(preprocessing, frame, np.zeros(len(frame)), str(path))
