"""One update as text for a terminal, and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mlplab.losses import LOSSES
from mlplab.one_step.compute import OneStep
from mlplab.one_step.lines import Line, is_plain, lines_of, name_of
from mlplab.one_step.mean_loss import Array
from mlplab.optimizers import OPTIMIZERS
from mlplab.schema import formula_lines
from mlplab.terminal.output import count

MAX_SHOWN = 8  # numbers of a vector, or units of a layer, without folding
FIRST, LAST = 3, 2  # that stay visible of what is folded
MAX_INLINE = 6  # numbers of a matrix that is written in one line
MAX_LEFT = 48  # width of the symbol with its formula
SECTIONS = {
    "forward": "forward: from the input to the loss",
    "backward": "backward: derivatives of the loss, from the output to the input",
    "update": "update",
    "again": "again, with the new weights",
}


def text_of(step: OneStep, row: int = 0) -> str:
    """Return the update as text: a line for each value, beside the formula that gives it."""
    lines, section = _header(step, row), ""
    values = lines_of(step, row)
    width = min(MAX_LEFT, max(len(_left(line)) for line in values))
    for line in values:
        if line.section != section:
            section = line.section
            lines += ["", SECTIONS[section]]
            if section == "update":
                lines[-1] += _optimizer(step)
        lines += _rendered(line, width)
    return "\n".join([*lines, "", *_check(step)])


def _optimizer(step: OneStep) -> str:
    """The optimizer with its formula, after the heading of the section."""
    optimizer = step.settings.optimizer
    formula = ["theta <- theta - lr * g"] if is_plain(optimizer) else formula_lines(optimizer)
    if step.ahead:
        formula.append("g and all values above are those at the point ahead")
    heading = f": {name_of(optimizer, dict(OPTIMIZERS))}, lr = {step.lr:g}"
    return "\n".join([heading, *(f"    {text}" for text in formula)])


def _header(step: OneStep, row: int) -> list[str]:
    settings, prepared = step.settings, step.prepared
    names = " -> ".join(str(layer.z.shape[1]) for layer in step.layers)
    structure = f"{step.x.shape[1]} -> {names}"
    if step.rows is None:
        which = f"the training's batch of {count(len(step.x), 'row')}"
    elif len(step.rows) == 1:
        which = f"row {step.rows[0]} of the train split"
    else:
        which = f"{len(step.rows)} rows of the train split"
    if len(step.x) > 1:
        shown = f"its row {row}" if step.rows is None else f"row {step.rows[row]}"
        which += f", of which {shown} is shown in full"
    target = (
        f"{int(step.y[row])} ({prepared.class_names[int(step.y[row])]})"
        if prepared.task.classifies
        else vector(np.atleast_1d(step.y[row]).astype(float))
    )
    x = step.x[row]
    text = f"  x{_names(prepared.input_names)} = {vector(x)}"
    has_bins = prepared.groups is not None and prepared.groups.has_bins
    raw = x if has_bins else prepared.feature_scaler.invert(step.x[[row]])[0]
    if not np.allclose(raw, x, rtol=0, atol=1e-12):
        text += f", scaled from {vector(raw)}"
    loss = name_of(settings.loss, dict(LOSSES))
    return [
        f"{settings.name}: update {step.step:,} of {step.num_steps:,} (epoch {step.epoch}), with"
        f" {which}",
        f"  network {structure}, loss={loss}, {settings.dtype}",
        *_embedding(step),
        text,
        f"  y = {target}",
    ]


def _embedding(step: OneStep) -> list[str]:
    """Which layers read only some of their inputs, and copy others."""
    blocks = [
        i for i, layer in enumerate(step.settings.layers, 1) if getattr(layer, "blocks", None)
    ]
    if not blocks:
        return []
    layers = f"layer {blocks[0]} is" if len(blocks) == 1 else f"layers 1 to {blocks[-1]} are"
    return [f"  {layers} the embedding: a unit that copies has the weight 1 and no activation"]


def _names(names: Sequence[str]) -> str:
    return f" = ({', '.join(names)})" if len(names) <= 4 else ""


def _left(line: Line) -> str:
    """What precedes the value: its symbol and its formula."""
    if line.formula in ("before", "after"):
        return f"  {line.symbol} {line.formula}"
    return f"  {line.symbol} = {line.formula}" if line.formula else f"  {line.symbol}"


def _rendered(line: Line, width: int) -> Iterator[str]:
    left, value = f"{_left(line):<{width}}", np.asarray(line.value)
    remark = f"   {line.remark}" if line.remark else ""
    if value.ndim < 2 or value.size <= MAX_INLINE:
        yield f"{left} = {_inline(value)}{remark}"
        return
    size = f"{value.shape[0]} x {value.shape[1]}, norm {number(np.linalg.norm(value))}"
    yield f"{left} = {size}{remark}"
    for row in _matrix_rows(value):
        yield f"{'':<{width}}   {row}"


def _inline(value: Array) -> str:
    if value.ndim == 0 or value.size == 1:
        return number(float(value.reshape(())) if value.ndim == 0 else float(value.ravel()[0]))
    if value.ndim == 1:
        return vector(value)
    return "[" + ", ".join(vector(row, "[]") for row in value) + "]"


def _matrix_rows(value: Array) -> Iterator[str]:
    rows = folded(len(value))
    cells = {i: _cells(value[i]) for i in rows if i is not None}
    width = max(len(cell) for row in cells.values() for cell in row)
    for i in rows:
        if i is None:
            yield "  ..."
        else:
            yield "[" + "  ".join(cell.rjust(width) for cell in cells[i]) + "]"


def _cells(row: Array) -> list[str]:
    return ["..." if j is None else number(row[j]) for j in folded(len(row))]


def folded(length: int) -> list[int | None]:
    """Return the indices that are shown of a long axis; None stands for those left out."""
    if length <= MAX_SHOWN:
        return list(range(length))
    return [*range(FIRST), None, *range(length - LAST, length)]


def vector(values: Array, brackets: str = "()") -> str:
    """Return a vector as text, such as (0.6000, 0.1000); a long one folded, with its norm."""
    text = brackets[0] + ", ".join(_cells(values)) + brackets[1]
    if len(values) > MAX_SHOWN and brackets == "()":
        text += f", {len(values)} numbers, norm {number(np.linalg.norm(values))}"
    return text


def number(number_value: float | np.floating[Any]) -> str:
    """Return a number with four decimals, or with an exponent if it is very small or large."""
    value = float(number_value)
    if value == 0:
        return "0"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"


def _check(step: OneStep) -> list[str]:
    if step.check is None:
        return ["check: none, since a derivative is not finite"]
    check, unit = step.check, f"A{step.check.layer}[{step.check.unit + 1}, {step.check.input + 1}]"
    return [
        f"check: de/d{unit} by a difference quotient, (e(w + d) - e(w - d)) / 2d ="
        f" {check.quotient:.6f}; backward gave {check.derivative:.6f}"
        f" (they differ by {abs(check.quotient - check.derivative):.0e})",
    ]


def _plain(value: Array) -> object:
    """The numbers as nested lists; None for one that is not finite, as after a step too large."""
    plain = np.asarray(value).astype(object)
    plain[~np.isfinite(value)] = None
    return plain.tolist()


def document(step: OneStep, row: int = 0) -> dict[str, object]:
    """Return the update as plain values for JSON, with all numbers unfolded."""
    check = step.check
    return {
        "name": step.settings.name,
        "step": step.step,
        "num_steps": step.num_steps,
        "epoch": step.epoch,
        "lr": step.lr,
        "rows": None if step.rows is None else list(step.rows),
        "row": row,
        "x": step.x.tolist(),
        "y": step.y.tolist(),
        "losses": _plain(step.losses),
        "objective": step.objective,
        "objective_again": _plain(np.array(step.again)),
        "lines": [
            {
                "section": line.section,
                "layer": line.layer,
                "symbol": line.symbol,
                "formula": line.formula,
                "value": _plain(line.value),
            }
            for line in lines_of(step, row)
        ],
        "check": check
        and {
            "layer": check.layer,
            "unit": check.unit + 1,
            "input": check.input + 1,
            "derivative": check.derivative,
            "quotient": check.quotient,
        },
    }
