"""Rows of a file, with their targets for commands that measure a run on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from mlplab.data.preparation.raw_rows import RawRows
    from mlplab.data.tabular.sniffing import Format
    from mlplab.model.preprocessing import Preprocessing


def read_labeled(
    preprocessing: Preprocessing, path: Path, form: Format
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows of a file, and their targets: classes, int64 [N], or values in the units of
    the target, float64 [N, T].

    Raises DataError if the file cannot be read, lacks the target, or has a class that training did
    not see.
    """
    from mlplab.data.tabular import roles
    from mlplab.data.tabular.cell_errors import refuse_cells
    from mlplab.data.tabular.cells import category_text, without_markers
    from mlplab.data.tabular.columns import require_column
    from mlplab.data.tabular.streaming import read_chunks, source_name

    targets = preprocessing.target_names
    classes, values = (targets, ()) if preprocessing.task.classifies else ((), targets)
    chunks = list(read_chunks(path, form, preprocessing.encoder, classes, values))
    import pandas as pd  # here, since reading names the extra if it is missing

    frame, source = pd.concat(chunks), source_name(path)
    for name in targets:
        require_column(name, list(frame.columns), source, "target")
        if preprocessing.encoder is not None:
            markers = preprocessing.encoder.markers_of(name)
            frame[name] = without_markers(frame[name], markers)
    if not preprocessing.task.classifies:
        encoder = preprocessing.encoder
        formats = encoder.target_formats if encoder is not None else {}
        return frame, roles.regression_targets(frame, targets, source, formats)
    code_of_text = {category_text(name): c for c, name in enumerate(preprocessing.class_names)}
    cells = frame[targets[0]]
    labels = cells.map(category_text)
    refuse_cells(
        ~labels.isin(code_of_text).to_numpy(),
        cells,
        f"{source}, target '{targets[0]}'",
        f"a class of this run ({', '.join(preprocessing.class_names)})",
    )
    return frame, labels.map(code_of_text).to_numpy(np.int64)


def raw_rows(
    preprocessing: Preprocessing, frame: pd.DataFrame, y: np.ndarray, source: str
) -> RawRows:
    """Return the cells of a frame in the columns that the run learned from, with targets y.

    Raises DataError, naming the `source`, if a column is missing.
    """
    from mlplab.data.preparation.raw_rows import RawRows

    names, encoder = preprocessing.raw_column_names, preprocessing.encoder
    absent = [name for name in names if name not in frame]
    if absent:
        raise DataError(f"{source} lacks the column(s) {', '.join(absent)}.")
    frame = frame.reset_index(drop=True)
    columns = {name: frame[name] if encoder else frame[name].to_numpy(float) for name in names}
    return RawRows(columns, y, source)
