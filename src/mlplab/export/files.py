"""The file of an exported model, and what is read back from it. Each writer checks what it wrote:
the file is loaded anew and asked. Shapes: N rows.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from mlplab.data.tabular.columns import CATEGORY
from mlplab.errors import DataError
from mlplab.export.checking import TOLERANCE, difference, random_rows
from mlplab.export.columns import Input, coded, inputs, raw
from mlplab.export.pipeline import Pipeline, codes
from mlplab.extras import require
from mlplab.io.files import open_atomic
from mlplab.runs.ensemble import Predictor
from mlplab.runs.run import Run

ROWS = 1000
EXAMPLE = 3  # rows that the module is traced with


def export(predictor: Predictor, form: str, out: Path, rows: int = ROWS) -> float:
    """Write the runs of a predictor as one file; the largest difference from what they say
    themselves on random and edge rows.

    form: onnx or torch. Raises DataError where the file would say something else, and leaves none
    then.
    """
    need(form)
    runs = predictor.runs
    frame = random_rows(runs[0], rows)
    expected = predictor.scores(frame, "the random rows")[0]
    write: Callable[[Sequence[Run], BinaryIO], Any] = write_onnx if form == "onnx" else write_torch
    ask: Callable[[Path, Sequence[Input], Any], np.ndarray] = (
        ask_onnx if form == "onnx" else ask_torch
    )
    wanted = inputs(runs)
    with open_atomic(out) as (staging_dir, file):
        write(runs, file)
        file.flush()
        found = difference(runs, expected, ask(staging_dir, wanted, frame))
        limit = TOLERANCE[runs[0].settings.dtype]
        if not found <= limit:
            raise DataError(
                f"The exported model differs from the run by {found:.3g}, and {limit:g} is allowed:"
                f" {out} was not written."
            )
    return found


def need(form: str) -> None:
    """Raise MissingExtraError where what writes this format, and checks it, is not installed."""
    extra = ("onnx", "onnxscript", "onnxruntime") if form == "onnx" else ()
    require(f"--format {form}", "export", "pandas", *extra)


def about(runs: Sequence[Run]) -> dict[str, str]:
    """What the file says of itself: texts by key."""
    own = runs[0].preprocessing
    return {
        "mlplab": _version(),
        "task": own.task.kind,
        "classes": json.dumps(own.class_names),
        "targets": json.dumps(own.target_names),
        "features": json.dumps(own.feature_names),
        "inputs": json.dumps([one.about() for one in inputs(runs)]),
        "codes": json.dumps(
            {one.name: codes(one.words) for one in inputs(runs) if one.kind == CATEGORY}
        ),
        "models": str(len(runs)),
    }


def _version() -> str:
    from mlplab.cli import version

    return version()


def _traced(runs: Sequence[Run]) -> tuple[Pipeline, tuple[torch.Tensor, ...], list[Input]]:
    """The module and rows to trace it with."""
    wanted = inputs(runs)
    rows = coded(wanted, raw(wanted, random_rows(runs[0], EXAMPLE)))
    return Pipeline(runs).eval(), tuple(map(torch.from_numpy, rows)), wanted


def write_torch(runs: Sequence[Run], file: BinaryIO) -> None:
    """A program of torch.export: positional inputs in the order of `inputs`, categories as codes;
    both stand in its extra file about.json.
    """
    pipeline, rows, _ = _traced(runs)
    batch = torch.export.Dim("rows", min=1)
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            pipeline, rows, dynamic_shapes={"columns": tuple({0: batch} for _ in rows)}
        )
        torch.export.save(program, file, extra_files={"about.json": json.dumps(about(runs))})


def ask_torch(path: Path, wanted: Sequence[Input], frame: Any) -> np.ndarray:
    """What the file says of rows: probabilities or values [N, ...]."""
    with _quiet(), open(path, "rb") as file:
        module = torch.export.load(file).module()
    with torch.no_grad():
        return np.asarray(module(*map(torch.from_numpy, coded(wanted, raw(wanted, frame))))[0])


def write_onnx(runs: Sequence[Run], file: BinaryIO) -> None:
    """An ONNX model: an input a column, by its name, [N, 1]; outputs `label` and `probabilities`,
    or `values`.
    """
    from mlplab.export.onnx_graph import finished

    pipeline, rows, wanted = _traced(runs)
    batch = torch.export.Dim("rows", min=1)
    names = [f"column_{i}" for i in range(len(rows))]
    outputs = ["probabilities", "place"] if pipeline.classifies else ["values"]
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
    model = finished(
        program.model_proto,
        dict(zip(names, wanted, strict=True)),
        runs[0].preprocessing.class_names,
        about(runs),
    )
    file.write(model.SerializeToString())


def ask_onnx(path: Path, wanted: Sequence[Input], frame: Any) -> np.ndarray:
    """What the file says of rows, by onnxruntime."""
    runtime = import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return np.asarray(
        session.run(
            ["probabilities" if "probabilities" in names else "values"], raw(wanted, frame)
        )[0]
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell of their own inner life."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
