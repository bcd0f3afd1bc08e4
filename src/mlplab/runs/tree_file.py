"""A tree of tensors and plain values as the bytes of a safetensors file: no pickle, nothing that
could run.
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor

from mlplab.errors import TreeError

FORMAT = "mlplab-tree-1"
_LARGEST_HEADER = 64 << 20


def dump(tree: Any) -> bytes:
    """The tree of dicts (keys: texts or ints), lists, tuples, tensors, numbers, texts and None.
    TypeError for anything else.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    text = json.dumps(_plain(tree, tensors), separators=(",", ":"), allow_nan=False)
    return save(tensors, metadata={"format": FORMAT, "tree": text})


def _plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        if not all(isinstance(key, (str, int)) for key in value):
            raise TypeError("a key is neither a text nor an int")
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
    """The tree again. TreeError for bytes that `dump` did not make: damaged, or made to deceive."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        length = int.from_bytes(data[:8], "little")
        if length > min(len(data), _LARGEST_HEADER):
            raise TreeError("the header is longer than the file")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise TreeError(f"the format is {metadata.get('format')!r}, not {FORMAT!r}")
        tensors = load(data)
        return _built(json.loads(metadata["tree"]), tensors)
    except (
        SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        RuntimeError,
    ) as error:
        raise (
            error if isinstance(error, TreeError) else TreeError(f"{type(error).__name__}: {error}")
        ) from error


def _built(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise TreeError("a bare list")
        return value
    (kind, inside), *rest = value.items()
    if rest:
        raise TreeError("a node of two kinds")
    if kind == "tensor":
        return _dense(tensors[inside])
    if kind == "dict":
        return {key: _built(item, tensors) for key, item in inside}
    if kind in ("list", "tuple"):
        items = [_built(item, tensors) for item in inside]
        return items if kind == "list" else tuple(items)
    if kind == "float" and inside in ("nan", "inf", "-inf"):
        return float(inside)
    raise TreeError(f"a node of the kind {kind!r}")


def _dense(tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise TreeError("a tensor that is not a plain dense one")
    return tensor
