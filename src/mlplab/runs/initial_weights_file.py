"""initial_weights.safetensors, the copy of the weights from which a run with `init_from` starts."""

from __future__ import annotations

import json
from pathlib import Path

from mlplab.io.files import load_weights, parse_json, weights_bytes, write_bytes_atomic
from mlplab.io.reading import reading
from mlplab.network.initial_weights import InitialWeights
from mlplab.network.layout import Entry

FILE, FORMAT = "initial_weights.safetensors", "mlplab-initial-weights-1"


def write_copy(initial: InitialWeights, folder: Path) -> None:
    """Write the weights into the folder of the run that starts from them."""
    about = {
        "source": initial.source,
        "sha256": initial.digest,
        "entries": [[e.layer, e.name, *e.shape] for e in initial.entries],
        "features": initial.feature_names,
        "targets": initial.targets,
    }
    tensors = {"theta": initial.theta_P, **{f"buffer.{n}": v for n, v in initial.buffers.items()}}
    metadata = {"format": FORMAT, "about": json.dumps(about)}
    write_bytes_atomic(folder / FILE, weights_bytes(tensors, metadata))


def read_copy(folder: Path) -> InitialWeights | None:
    """Return the weights that the run in a folder started from, None if it has no copy of any.

    Raises StateError if the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    with reading(path):
        tensors, metadata = load_weights(path)
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')}, not {FORMAT}")
        about = parse_json(metadata["about"])
        entries = tuple(Entry(layer, name, (i, o)) for layer, name, i, o in about["entries"])
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
