"""The copies of the weights that `init_from` names: initial_weights.safetensors of a run, and one
file for each source in initial_weights/ of a sweep.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlplab.io.files import load_weights, parse_json, weights_bytes, write_bytes_atomic
from mlplab.io.links import make_folder
from mlplab.io.reading import RESTORE, reading
from mlplab.network.blocks import Block
from mlplab.network.initial_weights import InitialWeights
from mlplab.network.layout import Entry
from mlplab.settings import Settings

FILE, FOLDER, FORMAT = "initial_weights.safetensors", "initial_weights", "mlplab-initial-weights-1"
FORMAT_WITH_BLOCKS = "mlplab-initial-weights-2"


def write_copy(initial: InitialWeights, folder: Path) -> None:
    """Write the weights into the folder of the run that starts from them."""
    _write(initial, folder / FILE)


def write_copy_of_sweep(initial: InitialWeights, sweep: Path) -> None:
    """Write the weights into the folder of the sweep with jobs that start from them, unless it has
    weights of this source: all of its jobs start from the same ones.
    """
    path = _path_in_sweep(sweep, initial.source)
    if not path.is_file():
        make_folder(path.parent)
        _write(initial, path)


def _path_in_sweep(sweep: Path, source: str) -> Path:
    return sweep / FOLDER / f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.safetensors"


def _write(initial: InitialWeights, path: Path) -> None:
    about = {
        "source": initial.source,
        "sha256": initial.digest,
        "entries": [_listed(entry) for entry in initial.entries],
        "features": initial.feature_names,
        "targets": initial.targets,
    }
    tensors = {"theta": initial.theta_P, **{f"buffer.{n}": v for n, v in initial.buffers.items()}}
    has_blocks = any(entry.blocks for entry in initial.entries)
    form = FORMAT_WITH_BLOCKS if has_blocks else FORMAT
    metadata = {"format": form, "about": json.dumps(about)}
    write_bytes_atomic(path, weights_bytes(tensors, metadata))


def _listed(entry: Entry) -> list[object]:
    """An entry as a list; the last item of that of a block layer are its blocks."""
    blocks = [[[b.start, b.inputs, b.outputs, b.identity] for b in entry.blocks or ()]]
    return [entry.layer, entry.name, *entry.shape, *(blocks if entry.blocks else ())]


def _entry(
    layer: int, name: str, rows: int, columns: int, blocks: list[Any] | None = None
) -> Entry:
    of_layer = None if blocks is None else tuple(Block(*values) for values in blocks)
    return Entry(layer, name, (rows, columns), of_layer)


def read_copy(folder: Path, source: str) -> InitialWeights | None:
    """Return the weights of a source that the folder of a run or a sweep has a copy of, or None.

    Raises StateError if the file is damaged.
    """
    for path in (folder / FILE, _path_in_sweep(folder, source)):
        if path.is_file() and (initial := _read(path)).source == source:
            return initial
    return None


def with_stored_weights(settings: Settings) -> Settings:
    """Return settings with the weights that `init_from` names if the folder that the settings were
    read from has a copy of them.
    """
    if settings.init_from is None or settings.folder is None or settings.initial is not None:
        return settings
    return replace(settings, initial=read_copy(settings.folder, settings.init_from))


def _read(path: Path) -> InitialWeights:
    with reading(path, RESTORE):
        tensors, metadata = load_weights(path)
        if metadata.get("format") not in (FORMAT, FORMAT_WITH_BLOCKS):
            raise ValueError(f"its format is {metadata.get('format')}, not {FORMAT}")
        about = parse_json(metadata["about"])
        entries = tuple(_entry(*values) for values in about["entries"])
        buffers = {n.removeprefix("buffer."): v for n, v in tensors.items() if n != "theta"}
        initial = InitialWeights(
            about["source"],
            entries,
            tensors["theta"],
            buffers,
            tuple(about["features"]),
            tuple(about["targets"]),
        )
        if initial.digest != about["sha256"]:
            raise ValueError("its numbers have another SHA-256 than it says")
        if len(initial.theta_P) != sum(entry.size for entry in entries):
            raise ValueError("it has another number of weights than it says")
        return initial
