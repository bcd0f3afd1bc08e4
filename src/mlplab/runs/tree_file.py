"""A tree of tensors and plain values as the bytes of a safetensors file, without pickle or code."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor

from mlplab.errors import TreeError
from mlplab.io.files import parse_json, with_sorted_metadata
from mlplab.io.reading import fault_of

FORMAT = "mlplab-tree-1"
_MAX_HEADER_BYTES = 64 << 20


def dump(tree: object) -> bytes:
    """Serialize a tree of dicts (with str or int keys), lists, tuples, tensors, numbers, strings
    and None; equal trees give equal bytes.

    Raises TypeError for anything else.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    tree_json = json.dumps(_plain(tree, tensors), separators=(",", ":"), allow_nan=False)
    return with_sorted_metadata(save(tensors, metadata={"format": FORMAT, "tree": tree_json}))


def _plain(value: object, tensors: dict[str, Tensor]) -> object:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        if not all(isinstance(key, (str, int)) for key in value):
            raise TypeError("a key is neither a string nor an int")
        return {"dict": [[key, _plain(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {
            "list" if isinstance(value, list) else "tuple": [
                _plain(item, tensors) for item in value
            ]
        }
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def parse(data: bytes) -> Any:
    """Return the tree that `dump` serialized. Raises TreeError for damaged or malicious bytes."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        length = int.from_bytes(data[:8], "little")
        if length > min(len(data), _MAX_HEADER_BYTES):
            raise TreeError("the header is longer than the file")
        metadata = parse_json(data[8 : 8 + length]).get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise TreeError(f"the format is {metadata.get('format')!r}, not {FORMAT!r}")
        tensors = load(data)
        return _rebuild(parse_json(metadata["tree"]), tensors)
    except (
        SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        RuntimeError,
    ) as error:
        raise (error if isinstance(error, TreeError) else TreeError(fault_of(error))) from error


def _rebuild(value: object, tensors: dict[str, Tensor]) -> object:
    if isinstance(value, list):
        raise TreeError("a list is not in a node")
    if not isinstance(value, dict):
        return value
    node, *rest = value.items()
    if rest:
        raise TreeError("a node has two kinds")
    match node:
        case "tensor", content:
            return _require_dense(tensors[content])
        case "dict", content:
            return {key: _rebuild(item, tensors) for key, item in content}
        case "list", content:
            return [_rebuild(item, tensors) for item in content]
        case "tuple", content:
            return tuple(_rebuild(item, tensors) for item in content)
        case "float", "nan" | "inf" | "-inf" as content:
            return float(content)
    raise TreeError(f"a node has the kind {node[0]!r}")


def _require_dense(tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise TreeError("a tensor is not dense and real")
    return tensor
