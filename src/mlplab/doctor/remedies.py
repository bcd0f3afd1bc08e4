"""The overrides that help, as they compose with the configuration of a run."""

from __future__ import annotations

import math
from typing import Any

from mlplab.config.model import Mlp
from mlplab.doctor.evidence import Evidence
from mlplab.doctor.probing import rectifies
from mlplab.network.layer import hidden_widths

MAX_WIDTH = 512
TARGET_RATIO = 3e-3
"""|update| / |weights| at which a learning rate is well chosen; rule of thumb: 1e-3 to 1e-2."""
START_RATIO = 0.02
"""The same before the first update, when updates are larger."""
DESCENT = ("sgd", "momentum", "nag")
ADAPTIVE = ("adam", "adamw", "adamax", "nadam", "rmsprop", "lion")
"""Optimizers that move each weight by about the learning rate."""


def initializer(evidence: Evidence) -> tuple[str, ...]:
    """A random initializer that fits the activations."""
    activations = [layer.activation for layer in evidence.settings.layers if layer.activation]
    name = "he_normal" if rectifies(activations) else "xavier_normal"
    return (f"initializer={name}", *_model_initializers(evidence))


def _model_initializers(evidence: Evidence) -> tuple[str, ...]:
    """What takes back the initializers that the model and its layers name themselves."""
    model = _model(evidence)
    keys = [
        f"model.{key}=null"
        for key in ("bias_initializer", "output_initializer")
        if model.get(key) is not None
    ]
    return (*keys, *_plain_layers(evidence, "initializer"))


def relu(evidence: Evidence, name: str = "relu") -> tuple[str, ...]:
    """A rectifier, with the initializer that it needs."""
    layers = _plain_layers(evidence, "activation") or _plain_layers(evidence, "initializer")
    keys = [text for text in _model_initializers(evidence) if not text.startswith("model.hidden")]
    return (f"activation={name}", "initializer=he_normal", *keys, *layers)


def lr(evidence: Evidence, factor: float) -> tuple[str, ...]:
    """The learning rate times a factor, rounded to 1, 2, 3 or 5; none if it is not a number."""
    optimizer = evidence.config.get("optimizer")
    value = optimizer.get("lr") if isinstance(optimizer, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        return ()
    return (f"optimizer.lr={_rounded(value * factor):g}",)


def lower_lr(evidence: Evidence) -> tuple[str, ...]:
    """A learning rate whose updates have a healthy size."""
    ratio = evidence.median_ratio() if len(evidence.ratios_EL) else math.nan
    factor = TARGET_RATIO / ratio if ratio > 0 else 0.1
    if (first := first_ratio(evidence)) > 0:
        factor = min(factor, START_RATIO / first)
    return lr(evidence, min(0.1, max(1e-4, factor)))


def first_ratio(evidence: Evidence) -> float:
    """|update| / |weights| of the first update, of the layer where it is largest: of descent along
    the gradient, and of optimizers that move each weight by about lr; NaN for others.
    """
    optimizer = evidence.config.get("optimizer")
    if not isinstance(optimizer, dict) or not isinstance(optimizer.get("lr"), (int, float)):
        return math.nan
    rate, name = float(optimizer["lr"]), optimizer.get("name")
    squares = [0.0] * evidence.network.layout.num_layers
    sizes = [0] * evidence.network.layout.num_layers
    layout = evidence.network.layout
    for entry, values in zip(layout.entries, layout.split(evidence.start.theta_1P), strict=True):
        squares[entry.layer] += float(values.square().sum())
        sizes[entry.layer] += entry.size
    if name in DESCENT:
        momentum = optimizer.get("momentum", 0.0)
        rate /= 1 - momentum if isinstance(momentum, (int, float)) else 1.0
        steps = [rate * norm for norm in evidence.gradients.norms_L]
    elif name in ADAPTIVE:
        steps = [rate * size**0.5 for size in sizes]
    else:
        return math.nan
    return max(
        step / math.sqrt(square) for step, square in zip(steps, squares, strict=True) if square > 0
    )


def higher_lr(evidence: Evidence) -> tuple[str, ...]:
    """A learning rate whose updates have a healthy size."""
    ratio = evidence.median_ratio()
    factor = TARGET_RATIO / ratio if ratio > 0 else 30.0
    return lr(evidence, max(3.0, min(1000.0, factor)))


def wider(evidence: Evidence) -> tuple[str, ...]:
    """More units in each hidden layer, in two layers at least."""
    widths = hidden_widths(evidence.settings.layers) or [4]
    widths = widths * 2 if len(widths) == 1 else widths
    units = [min(max(4 * width, 24), max(width, MAX_WIDTH)) for width in widths]
    return (hidden(units),)


def regularized(evidence: Evidence) -> tuple[str, ...]:
    """A penalty on the weights, tenfold if there is one."""
    l2 = evidence.settings.training.l2
    return (f"training.l2={max(0.01, 10 * l2 if isinstance(l2, (int, float)) else 0.0):g}",)


def hidden(widths: list[int]) -> str:
    """The override of the hidden layers' widths."""
    return f"model.hidden=[{','.join(map(str, widths))}]"


def _plain_layers(evidence: Evidence, key: str) -> tuple[str, ...]:
    """The hidden layers as widths, if one of them sets this key itself."""
    if not any(key in layer for layer in Mlp(hidden=_model(evidence).get("hidden")).layers()):
        return ()
    return (hidden(hidden_widths(evidence.settings.layers)),)


def _model(evidence: Evidence) -> dict[str, Any]:
    model = evidence.config.get("model")
    return model if isinstance(model, dict) else {}


def _rounded(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    digit = min((1, 2, 3, 5, 10), key=lambda step: abs(math.log(value / power / step)))
    return digit * power
