"""The data of the playback page: arrays packed into bytes, and a table of their offsets.

Shapes: R frames, N points, G grid points.
"""

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlplab.pictures.colors import Floats
from mlplab.pictures.diagram import Diagram, build_diagram, unit_maps
from mlplab.pictures.plane import principal_axes
from mlplab.pictures.separability import linear_scores
from mlplab.pictures.study import Study

MAX_POINTS = 250
MAX_CURVE_POINTS = 400
MAX_SCORED_FRAMES = 17  # frames at which linear models are fitted to the layers
MAX_BYTES = 12 << 20  # of maps before compression


class Pack:
    """Arrays in one buffer, each aligned to 4 bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.table: dict[str, dict[str, object]] = {}

    def add(self, name: str, values: np.ndarray) -> None:
        """Add a float32, uint8 or int16 array unchanged."""
        self._bytes += b"\0" * (-len(self._bytes) % 4)
        self.table[name] = {
            "at": len(self._bytes),
            "kind": str(values.dtype),
            "shape": list(values.shape),
        }
        self._bytes += np.ascontiguousarray(values).tobytes()

    def add_steps(self, name: str, values: Floats, low: float, high: float) -> None:
        """Add numbers between low and high in 255 steps, with an error of at most 0.2 %."""
        span = max(high - low, 1e-12)
        steps = np.clip(np.round((values - low) / span * 255), 0, 255)
        self.add(name, steps.astype(np.uint8))
        self.table[name] |= {"low": low, "high": low + span}

    def text(self) -> str:
        """Return the buffer, deflated and encoded in base64."""
        return base64.b64encode(zlib.compress(bytes(self._bytes), 9)).decode()


def payload(study: Study) -> tuple[dict[str, Any], str]:
    """Return a description of the study as JSON values, and the packed arrays."""
    diagram, pack = build_diagram(study), Pack()
    size, rows = _resolution(study, diagram)
    shown = study.with_frames(study.frames.at(rows))
    best_frame = rows.index(study.best_frame)
    _maps(pack, shown, diagram, size)
    _weights(pack, shown, diagram)
    splits = list(dict.fromkeys(("train", study.eval_split)))
    _points(pack, shown, splits)
    spaces = _spaces(pack, shown, diagram, splits, best_frame)
    description = {
        "task": "classes" if study.classifies else "values",
        "classes": list(study.classes),
        "colors": list(study.colors),
        "targets": list(study.prepared.target_names),
        "features": list(study.prepared.input_names),
        "epochs": shown.frames.epoch.tolist(),
        "steps": shown.frames.step.tolist(),
        "chosen": best_frame,
        "grid": size,
        "plane": {
            "dimensions": study.plane.dimensions,
            "names": list(study.plane.names),
            "extent": list(study.plane.extent),
            "note": study.plane.note,
        },
        "columns": _columns(study, diagram),
        "left_out": diagram.note,
        "splits": splits,
        "spaces": spaces,
        "curves": _curves(study),
        "arrays": pack.table,
    }
    return description, pack.text()


def _resolution(study: Study, diagram: Diagram) -> tuple[int, list[int]]:
    """Return the side length of the grid and the frames; fewer of both if there are many units."""
    units = max(1, sum(len(column.units) for column in diagram.columns[1:]))
    rows = list(range(len(study.frames)))
    if study.plane.dimensions == 1:
        return 200, rows
    for size in (48, 40, 32, 24):
        if size * size * units * len(rows) <= MAX_BYTES:
            return size, rows
    max_frames = max(2, MAX_BYTES // (24 * 24 * units))
    return 24, _spread_rows(len(rows), max_frames, study.best_frame)


def _spread_rows(count: int, max_rows: int, *included: int) -> list[int]:
    """Return at most `max_rows` evenly spaced rows of `count`, and those to include, in order."""
    rows = np.linspace(0, count - 1, min(count, max_rows)).round().astype(int)
    return sorted({*rows.tolist(), *included})


def _maps(pack: Pack, study: Study, diagram: Diagram, size: int) -> None:
    rows = list(range(len(study.frames)))
    maps = unit_maps(study, diagram, study.plane.grid(size), rows)
    for i, column in enumerate(maps):
        is_probability = i == len(maps) - 1 and study.classifies
        for j, values_RG in enumerate(column):
            values = values_RG[:1] if i == 0 else values_RG
            limits = (0.0, 1.0) if is_probability else (float(values.min()), float(values.max()))
            pack.add_steps(f"map.{i}.{j}", values, *limits)


def _weights(pack: Pack, study: Study, diagram: Diagram) -> None:
    """Add for each column but the input its biases and its weights.

    The weights are left out if the previous layer is not shown.
    """
    per_frame = [study.weights(row) for row in range(len(study.frames))]
    for i, (left, right) in enumerate(
        zip(diagram.columns[:-1], diagram.columns[1:], strict=True), 1
    ):
        weights, biases = zip(*(frame[right.layer - 1] for frame in per_frame), strict=True)
        if right.layer == left.layer + 1:
            cells = np.ix_(left.units, right.units)
            pack.add(f"weight.{i}", np.array([weight[cells] for weight in weights], np.float32))
        if biases[0] is not None:
            pack.add(f"bias.{i}", np.array(biases, np.float32)[:, right.units])


def _points(pack: Pack, study: Study, splits: list[str]) -> None:
    for split in splits:
        points = study.points(split, MAX_POINTS)
        pack.add(f"position.{split}", study.positions(points).astype(np.float32))
        targets = points.y if study.classifies else points.y[:, 0]
        pack.add(f"target.{split}", targets.astype(np.float32))


def _spaces(
    pack: Pack, study: Study, diagram: Diagram, splits: list[str], best_frame: int
) -> list[dict[str, object]]:
    """Add the positions of the points after each hidden layer shown, and return their description.

    Up to 3 units are coordinates; more are projected onto principal components of the best frame.
    """
    hidden = [column.layer for column in diagram.columns[1:-1]]
    rows = list(range(len(study.frames)))
    outputs = {split: study.layers(study.points(split, MAX_POINTS).x, rows) for split in splits}
    scored = _spread_rows(len(rows), MAX_SCORED_FRAMES, best_frame)
    scores = np.array([linear_scores(study, [0, *hidden], row) for row in scored])
    spaces: list[dict[str, object]] = [
        {"layer": 0, "scored": scored, "scores": _rounded(scores[:, 0])}
    ]
    for index, layer in enumerate(hidden, 1):
        coordinates = {
            split: values[layer - 1].double().numpy() for split, values in outputs.items()
        }
        width, note = coordinates[splits[0]].shape[2], ""
        if width > 3:
            basis = coordinates[splits[0]][best_frame]
            axes, variance_fraction = principal_axes(basis, 2)
            coordinates = {
                split: (values - basis.mean(0)) @ axes.T for split, values in coordinates.items()
            }
            note = (
                f"2 principal components of epoch {int(study.frames.epoch[best_frame])},"
                f" {variance_fraction:.0%} of its variance"
            )
        low, high = (
            float(edge([edge(values) for values in coordinates.values()]))
            for edge in (np.min, np.max)
        )
        for split, values in coordinates.items():
            pack.add_steps(f"space.{layer}.{split}", values, low, high)
        spaces.append(
            {
                "layer": layer,
                "units": width,
                "note": note,
                "scored": scored,
                "scores": _rounded(scores[:, index]),
            }
        )
    return spaces


def _columns(study: Study, diagram: Diagram) -> list[dict[str, object]]:
    columns: list[dict[str, object]] = []
    for i, column in enumerate(diagram.columns):
        if i == 0:
            names = [study.prepared.input_names[unit] for unit in column.units]
        elif i == len(diagram.columns) - 1:
            names = list(study.classes or study.prepared.target_names)[:10]
        else:
            names = [f"h{column.layer}.{unit + 1}" for unit in column.units]
        layer = study.settings.layers[column.layer - 1] if i else None
        columns.append(
            {
                "layer": column.layer,
                "total": column.total,
                "names": names,
                "activation": (
                    type(layer.activation).__name__.lower() if layer and layer.activation else ""
                ),
                "normalization": (
                    layer.normalization if layer and layer.normalization != "none" else ""
                ),
            }
        )
    return columns


def _curves(study: Study) -> Mapping[str, object]:
    history = study.history
    rows = _spread_rows(len(history), MAX_CURVE_POINTS)
    metrics = ["loss", "accuracy"] if study.classifies else ["loss", "rmse", "r2"]
    names = [f"{split}/{metric}" for metric in metrics for split in ("train", "val")]
    return {
        "epoch": history.epoch[rows].tolist(),
        "metrics": metrics,
        "columns": {name: _rounded(history[name][rows]) for name in names if name in history.names},
    }


def _rounded(values: Floats) -> list[float | None]:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values.tolist()]
