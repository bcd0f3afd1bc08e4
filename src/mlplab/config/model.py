"""The `model` group: the structure of the network, before the parts that it names are built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mlplab.errors import FieldError
from mlplab.schema import Component, Number, anything, choice, flag, integer, number

MAX_LAYERS = 1000
_PIECE = re.compile(r"(\d{1,10})(?:x(\d{1,10}))?")
_FORMS = "write [6, 4], 64-64-32 or 64x3, and [] for no hidden layer"

NORMALIZATIONS = ("none", "batch", "layer")


@dataclass(frozen=True)
class LayerKeys(Component):
    """One hidden layer where it differs from the others; what is null follows the model."""

    units: int = integer(1, "width", at_least=1)
    activation: Any = anything(
        None, "a word, or a mapping with a name; null is the activation group's"
    )
    initializer: Any = anything(
        None, "a word, or a mapping with a name; null is the initializer group's"
    )
    dropout: Number | None = number(
        None,
        "probability of leaving a unit out; null is the model's",
        at_least=0,
        below=1,
        optional=True,
    )
    normalization: str | None = choice(
        None,
        NORMALIZATIONS,
        "normalization before the activation; null is the model's",
        optional=True,
    )
    bias: Any = anything(None, "true or false; null is the model's")

    def check(self) -> None:
        if not (self.bias is None or isinstance(self.bias, bool)):
            raise FieldError("bias", self.bias, "is not true, false or null")


@dataclass(frozen=True)
class Mlp(Component):
    """Fully connected layers, one after another; the loss decides the width of the last.

    A layer is a width, or a mapping with `units` and any of activation, initializer, dropout,
    normalization and bias.
    """

    hidden: Any = anything(
        [6, 6],
        "widths of the hidden layers: [6, 4], 64-64-32, 64x3; [] has none; a layer may be {units:"
        " 6, activation: relu, ...}",
    )
    dropout: Number = number(
        0.0, "probability of leaving a hidden unit out of an update", at_least=0, below=1
    )
    normalization: str = choice(
        "none", NORMALIZATIONS, "normalization before each hidden activation"
    )
    bias: bool = flag(True, "affine layers have biases")
    bias_initializer: Any = anything(
        None, "initializer of the biases, a word or a mapping; null sets them to initializer.bias"
    )
    output_initializer: Any = anything(
        None,
        "initializer of the output layer, a word or a mapping; null is that of the hidden layers",
    )

    def layers(self) -> list[dict[str, Any]]:
        """The hidden layers as mappings with `units`, whichever way they were written. Raises
        FieldError.
        """
        written = self.hidden
        if isinstance(written, str):
            widths = _widths(written)
        elif isinstance(written, int) and not isinstance(written, bool):
            widths = [written]
        elif isinstance(written, (list, tuple)):
            widths = list(written)
        else:
            raise FieldError("hidden", written, f"is not a structure: {_FORMS}")
        if len(widths) > MAX_LAYERS:
            raise FieldError("hidden", f"{len(widths)} layers", f"is more than {MAX_LAYERS} layers")
        return [_layer(i, item) for i, item in enumerate(widths)]

    def check(self) -> None:
        self.layers()


def _layer(i: int, item: object) -> dict[str, Any]:
    if isinstance(item, int) and not isinstance(item, bool):
        return {"units": item}
    if isinstance(item, dict) and "units" in item:
        return dict(item)
    if isinstance(item, dict):
        raise FieldError(f"hidden[{i}]", item, "has no `units`, the width of the layer")
    raise FieldError(
        f"hidden[{i}]",
        item,
        "is not a layer: a width (a whole number >= 1), or a mapping such as {units: 6, activation:"
        " relu}",
    )


def _widths(written: str) -> list[Any]:
    """64-64x3 -> 64, 64, 64, 64; the empty text -> no layer."""
    widths: list[Any] = []
    if not written.strip():
        return widths
    for piece in written.strip().split("-"):
        match = _PIECE.fullmatch(piece)
        if not match:
            raise FieldError("hidden", written, f"is not a structure: {_FORMS}")
        times = int(match[2] or 1)
        if times < 1 or len(widths) + times > MAX_LAYERS:
            raise FieldError(
                "hidden",
                written,
                f"has {'no' if times < 1 else 'too many'} layers in `{piece}`: 1 to {MAX_LAYERS}",
            )
        widths += [int(match[1])] * times
    return widths
