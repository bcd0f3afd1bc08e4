"""Write exported models, and compute predictions with the written files.

Every file is loaded again and checked before it is kept. Shapes: N rows, C classes, T targets.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch

from mlplab.cli import version
from mlplab.data.tabular.columns import CATEGORY
from mlplab.errors import DataError
from mlplab.export.checking import TOLERANCE, difference, random_rows
from mlplab.export.columns import Input, coded_inputs, inputs, raw_inputs
from mlplab.export.double_constants import keep_double_constants
from mlplab.export.pipeline import Pipeline
from mlplab.extras import require
from mlplab.io.files import open_atomic
from mlplab.runs.ensemble import Predictor
from mlplab.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

ROWS = 1000  # that the file is checked on
TRACE_ROWS = 3  # that the module is traced with


def export(predictor: Predictor, form: str, out: Path, rows: int = ROWS) -> float:
    """Write the runs of a predictor as one file and check it on random rows and edge cases.

    Args:
        predictor: the run, or the runs whose mean is exported.
        form: onnx or torch.
        out: the path of the file.
        rows: the number of rows to check it on.

    Returns:
        The largest difference between the file and the predictor, in the units of TOLERANCE.

    Raises:
        DataError: if the predictions of the file differ by more than TOLERANCE; `out` is then not
            written.
        MissingExtraError: if a package for the format is not installed.
    """
    require_packages(form)
    runs = predictor.runs
    frame = random_rows(runs[0], rows)
    expected = predictor.scores(frame, "the random rows")[0]
    write: Callable[[Sequence[Run], BinaryIO], object] = (
        write_onnx if form == "onnx" else write_torch
    )
    predict: Callable[[Path, Sequence[Input], pd.DataFrame], np.ndarray] = (
        predict_onnx if form == "onnx" else predict_torch
    )
    with open_atomic(out) as (staging_dir, file):
        write(runs, file)
        file.flush()
        largest = difference(runs, expected, predict(staging_dir, inputs(runs), frame))
        limit = TOLERANCE[runs[0].settings.dtype]
        if not largest <= limit:
            raise DataError(
                f"The exported model differs from the run by {largest:.3g}, but at most {limit:g}"
                f" is allowed: {out} was not written."
            )
    return largest


def require_packages(form: str) -> None:
    """Raise MissingExtraError unless the packages that write and check this format exist."""
    extra = ("onnx", "onnxscript", "onnxruntime") if form == "onnx" else ()
    require(f"--format {form}", "export", "pandas", *extra)


def metadata(runs: Sequence[Run]) -> dict[str, str]:
    """Return the metadata of the file: strings, most of them JSON, by key."""
    preprocessing = runs[0].preprocessing
    return {
        "mlplab": version(),
        "task": preprocessing.task.kind,
        "classes": json.dumps(preprocessing.class_names),
        "targets": json.dumps(preprocessing.target_names),
        "features": json.dumps(preprocessing.feature_names),
        "inputs": json.dumps([one.metadata() for one in inputs(runs)]),
        "codes": json.dumps({one.name: one.codes for one in inputs(runs) if one.kind == CATEGORY}),
        "models": str(len(runs)),
    }


def _module_and_rows(
    runs: Sequence[Run],
) -> tuple[Pipeline, tuple[torch.Tensor, ...], list[Input]]:
    """Return the module, the rows to trace it with, and its inputs."""
    columns = inputs(runs)
    rows = coded_inputs(columns, raw_inputs(columns, random_rows(runs[0], TRACE_ROWS)))
    return Pipeline(runs).eval(), tuple(map(torch.from_numpy, rows)), columns


def write_torch(runs: Sequence[Run], file: BinaryIO) -> None:
    """Write a program of torch.export.

    It takes positional inputs in the order of `inputs`, with categories as codes; its extra file
    about.json lists both.
    """
    pipeline, rows, _ = _module_and_rows(runs)
    batch = torch.export.Dim("rows", min=1)
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            pipeline, rows, dynamic_shapes={"columns": tuple({0: batch} for _ in rows)}
        )
        program.example_inputs = None  # they would be stored as a pickle
        archive = io.BytesIO()  # torch ends the process if it cannot write to a file
        torch.export.save(program, archive, extra_files={"about.json": json.dumps(metadata(runs))})
    file.write(archive.getbuffer())


def predict_torch(path: Path, columns: Sequence[Input], frame: pd.DataFrame) -> np.ndarray:
    """Return the probabilities [N, C] or values [N, T] that a torch file computes for a frame."""
    with _quiet(), open(path, "rb") as file:
        module = torch.export.load(file).module()
    arrays = coded_inputs(columns, raw_inputs(columns, frame))
    with torch.no_grad():
        return np.asarray(module(*map(torch.from_numpy, arrays))[0])


def write_onnx(runs: Sequence[Run], file: BinaryIO) -> None:
    """Write an ONNX model with one input [N, 1] per column, named like it.

    The outputs are `label` and `probabilities`, or `values`.
    """
    from mlplab.export.onnx_graph import complete_model

    pipeline, rows, columns = _module_and_rows(runs)
    if runs[0].settings.dtype == "float64":
        keep_double_constants(pipeline)
    batch = torch.export.Dim("rows", min=1)
    names = [f"column_{i}" for i in range(len(rows))]
    outputs = ["probabilities", "class_index"] if pipeline.classifies else ["values"]
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            pipeline,
            rows,
            dynamo=True,
            verbose=False,
            input_names=names,
            output_names=outputs,
            optimize=True,
            dynamic_shapes=(tuple({0: batch} for _ in rows),),
            external_data=False,
        )
    assert program is not None
    model = complete_model(
        program.model_proto,
        dict(zip(names, columns, strict=True)),
        runs[0].preprocessing.class_names,
        metadata(runs),
    )
    file.write(model.SerializeToString())


def predict_onnx(path: Path, columns: Sequence[Input], frame: pd.DataFrame) -> np.ndarray:
    """Return the probabilities [N, C] or values [N, T] that onnxruntime computes for a frame."""
    runtime = import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return np.asarray(
        session.run(
            ["probabilities" if "probabilities" in names else "values"], raw_inputs(columns, frame)
        )[0]
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log messages and warnings of the exporters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
