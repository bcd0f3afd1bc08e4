"""Arrays as the native kernel reads them: numbers by member, and examples in blocks.

Shapes: K members, N examples, F features.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab import native
from mlplab.schema import Component, Number
from mlplab.training.batches import DeviceDataset


def column(number: Number, num_members: int) -> NDArray[np.float64]:
    """A number of each member, [K]."""
    if isinstance(number, Tensor):
        return number.double().reshape(-1).expand(num_members).numpy().copy()
    return np.full(num_members, float(number))


def numbers(component: Component | None, num_members: int) -> NDArray[np.float64]:
    """The numbers that the function of a component takes, [K, MAX_NUMBERS]."""
    numbers = np.zeros((num_members, native.MAX_NUMBERS))
    for i, name in enumerate(native.arguments(component) if component is not None else ()):
        numbers[:, i] = column(getattr(component, name), num_members)
    return numbers


_arrays: WeakKeyDictionary[DeviceDataset, dict[str, Tensor]] = WeakKeyDictionary()
"""Those of the datasets in use that members share."""


def arrays_of(examples: DeviceDataset, copies: int) -> dict[str, Tensor]:
    """The examples in order (x, y) and in blocks, for each of the copies."""
    if copies == 1 and examples in _arrays:
        return _arrays[examples]
    x, y = examples.x.expand(copies, -1, -1), _targets(examples, copies)
    arrays = {
        "x": x.contiguous(),
        "y": y.contiguous(),
        "x_blocks": blocks(x),
        "y_blocks": blocks(y),
    }
    if copies == 1:
        _arrays[examples] = arrays
    return arrays


def _targets(examples: DeviceDataset, copies: int) -> Tensor:
    y = examples.y.expand(copies, *examples.y.shape[1:])
    return y.to(torch.int32) if y.dtype == torch.int64 else y


def blocks(values: Tensor) -> Tensor:
    """[K, N] or [K, N, F] as blocks of LANES examples: [K, blocks, 1 or F, LANES].

    The last block repeats the last example.
    """
    whole, rest = divmod(values.shape[1], native.LANES)
    if rest:
        padding = values[:, -1:].expand(-1, native.LANES - rest, *values.shape[2:])
        values = torch.cat([values, padding], dim=1)
    blocks = values.reshape(len(values), whole + bool(rest), native.LANES, -1)
    return blocks.transpose(2, 3).contiguous()
