"""The `model` group: the structure of the network, before its components are built."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlplab.errors import FieldError
from mlplab.schema import Component, Number, anything, choice, flag, integer, number
from mlplab.training_options import AUTO

MAX_LAYERS = 1000
_SEGMENT = re.compile(r"(\d{1,10})(?:x(\d{1,10}))?")
_FORMS = "write [6, 4], 64-64-32, 64x3 or auto, and [] for no hidden layer"

NORMALIZATIONS = ("none", "batch", "layer")


@dataclass(frozen=True)
class LayerKeys(Component):
    """The keys of one hidden layer; null takes the value of the model or its group."""

    units: int = integer(1, "width", at_least=1)
    activation: object = anything(
        None, "a name, or a mapping with a name; null takes that of the group activation"
    )
    initializer: object = anything(
        None, "a name, or a mapping with a name; null takes that of the group initializer"
    )
    dropout: Number | None = number(
        None,
        "probability of dropping a unit; null takes the model's",
        at_least=0,
        below=1,
        optional=True,
    )
    normalization: str | None = choice(
        None,
        NORMALIZATIONS,
        "normalization before the activation; null takes the model's",
        optional=True,
    )
    bias: bool | None = anything(None, "true or false; null takes the model's")

    def check(self) -> None:
        if not (self.bias is None or isinstance(self.bias, bool)):
            raise FieldError("bias", self.bias, "is not true, false or null")


@dataclass(frozen=True)
class Mlp(Component):
    """A stack of fully connected layers; the loss determines the width of the last.

    A layer is a width, or a mapping with `units` and any of activation, initializer, dropout,
    normalization and bias.
    """

    hidden: object = anything(
        [6, 6],
        "widths of the hidden layers: [6, 4], 64-64-32, 64x3; [] has none; auto follows from the"
        " data; a layer may be {units: 6, activation: relu, ...}",
    )
    dropout: Number = number(
        0.0, "probability of dropping a hidden unit in an update", at_least=0, below=1
    )
    normalization: str = choice(
        "none", NORMALIZATIONS, "normalization before each hidden activation"
    )
    bias: bool = flag(True, "affine layers have biases")
    bias_initializer: object = anything(
        None, "initializer of the biases, a name or a mapping; null sets them to initializer.bias"
    )
    output_initializer: object = anything(
        None,
        "initializer of the output layer, a name or a mapping; null takes that of the hidden"
        " layers",
    )

    @property
    def is_auto(self) -> bool:
        """Whether the hidden layers follow from the data."""
        return self.hidden == AUTO

    def layers(self) -> list[dict[str, object]]:
        """Return the hidden layers as mappings with `units`, from any of the accepted forms; none
        if they follow from the data.

        Raises FieldError if `hidden` has none of the forms.
        """
        hidden = self.hidden
        if self.is_auto:
            return []
        if isinstance(hidden, str):
            hidden = _widths(hidden)
        elif isinstance(hidden, int) and not isinstance(hidden, bool):
            hidden = [hidden]
        if not isinstance(hidden, (list, tuple)):
            raise FieldError("hidden", hidden, f"is not a structure: {_FORMS}")
        if len(hidden) > MAX_LAYERS:
            raise FieldError("hidden", f"{len(hidden)} layers", f"is more than {MAX_LAYERS} layers")
        return [_layer(i, item) for i, item in enumerate(hidden)]

    def check(self) -> None:
        self.layers()


MODELS: dict[str, type[Component]] = {"mlp": Mlp}


def _layer(i: int, item: object) -> dict[str, object]:
    if isinstance(item, int) and not isinstance(item, bool):
        return {"units": item}
    if isinstance(item, dict) and "units" in item:
        return dict(item)
    if isinstance(item, dict):
        raise FieldError(f"hidden[{i}]", item, "has no `units`, the width of the layer")
    raise FieldError(
        f"hidden[{i}]",
        item,
        "is not a layer: write a width (an integer >= 1), or a mapping such as {units: 6,"
        " activation: relu}",
    )


def _widths(text: str) -> list[object]:
    """Parse the widths: 64-64x3 -> 64, 64, 64, 64; the empty string -> no layer."""
    widths: list[object] = []
    for segment in text.strip().split("-") if text.strip() else ():
        match = _SEGMENT.fullmatch(segment)
        if not match:
            raise FieldError("hidden", text, f"is not a structure: {_FORMS}")
        times = int(match[2] or 1)
        if times < 1 or len(widths) + times > MAX_LAYERS:
            raise FieldError(
                "hidden",
                text,
                f"has {'no' if times < 1 else 'too many'} layers in `{segment}`: 1 to {MAX_LAYERS}"
                " are allowed",
            )
        widths += [int(match[1])] * times
    return widths
