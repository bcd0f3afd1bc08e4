"""Links to the TensorFlow Playground as overrides, and a run as such a link.

The settings of the Playground are the fragment of its address: #batchSize=10&noise=5&...
Source: tensorflow/playground, src/state.ts (names and defaults), src/playground.ts (inputs, numbers
of points), src/nn.ts (weights, bias, update).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from mlplab.config.model import Mlp
from mlplab.config.override_lines import key_of
from mlplab.config.suggestions import did_you_mean, listing
from mlplab.errors import ConfigError, FieldError

ADDRESS = "https://playground.tensorflow.org/"
_MAX_LENGTH = 10_000

_DEFAULTS: dict[str, str] = {
    "activation": "tanh",
    "regularization": "none",
    "batchSize": "10",
    "dataset": "circle",
    "regDataset": "reg-plane",
    "learningRate": "0.03",
    "regularizationRate": "0",
    "noise": "0",
    "networkShape": "4,2",
    "seed": "0.00000",
    "showTestData": "false",
    "discretize": "false",
    "percTrainData": "50",
    "x": "true",
    "y": "true",
    "xTimesY": "false",
    "xSquared": "false",
    "ySquared": "false",
    "cosX": "false",
    "sinX": "false",
    "cosY": "false",
    "sinY": "false",
    "collectStats": "false",
    "tutorial": "",
    "problem": "classification",
    "initZero": "false",
    "hideText": "false",
}
"""The properties of a link and what they are without it, in the Playground's order."""

_INPUTS = {
    "x": "x1",
    "y": "x2",
    "xSquared": "x1_squared",
    "ySquared": "x2_squared",
    "xTimesY": "x1_x2",
    "sinX": "sin_x1",
    "sinY": "sin_x2",
}
"""Property -> feature, in the order of the Playground's inputs."""

_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "linear": "identity"}
_DATASETS = {
    "circle": "playground_circle",
    "xor": "playground_xor",
    "gauss": "playground_gauss",
    "spiral": "playground_spiral",
}
_REGRESSION_DATASETS = {
    "reg-plane": "playground_plane",
    "reg-gauss": "playground_multi_gauss",
}
_OPTIONS = {
    "activation": _ACTIVATIONS,
    "dataset": _DATASETS,
    "regDataset": _REGRESSION_DATASETS,
    "problem": {"classification": "", "regression": ""},
    "regularization": {"none": "", "L1": "l1", "L2": "l2"},
}
_WITHOUT_COUNTERPART = {
    "showTestData": "a choice on the page of the run",
    "discretize": "a choice on the page of the run",
    "collectStats": "no counterpart",
    "tutorial": "no counterpart",
    "hideText": "no counterpart",
    "cosX": "the Playground itself has no such input",
    "cosY": "the Playground itself has no such input",
}
_COMPARED = (
    "dataset",
    "model",
    "activation",
    "initializer",
    "loss",
    "optimizer",
    "schedule",
    "training",
    "validation",
)
_FREE = {
    *(f"training.{key}" for key in ("epochs", "steps", "evaluate_every", "patience", "min_delta")),
    "training.monitor",
}
"""Keys that say how long a network is trained, which the Playground leaves to its user."""


@dataclass(frozen=True)
class PlaygroundLink:
    """A link as overrides, with what has no counterpart and what differs, a sentence each."""

    overrides: tuple[str, ...]
    left_out: tuple[str, ...]
    differences: tuple[str, ...]

    def with_changes(self, changes: Sequence[str]) -> list[str]:
        """Return the overrides followed by `changes`, which replace those of the same keys."""
        changed = {key_of(line) for line in changes}
        return [*(line for line in self.overrides if key_of(line) not in changed), *changes]


def read_link(link: str) -> PlaygroundLink:
    """Return the overrides of a link. Raises ConfigError for what is not one."""
    values, left_out = _properties(link)
    regression = values["problem"] == "regression"
    name = (
        _REGRESSION_DATASETS[values["regDataset"]] if regression else _DATASETS[values["dataset"]]
    )
    percent = int(_number(values, "percTrainData", 1, 99, whole=True))
    batch = int(_number(values, "batchSize", 1, 10**6, whole=True))
    inputs = [feature for prop, feature in _INPUTS.items() if _is_true(values[prop])]
    if not inputs:
        raise ConfigError("The link selects no input: set x=true or another of its inputs.")
    overrides = [
        f"dataset={name}",
        f"dataset.noise={_text(_number(values, 'noise', 0, 50))}",
        "dataset.val=0",
        f"dataset.test={_text((100 - percent) / 100)}",
        "dataset.scaling=none",
        *([] if inputs == ["x1", "x2"] else [f"dataset.features=[{','.join(inputs)}]"]),
        f"model.hidden=[{','.join(map(str, _shape(values['networkShape'])))}]",
        f"activation={_ACTIVATIONS[values['activation']]}",
        *(
            ["initializer=zeros"]
            if _is_true(values["initZero"])
            else [
                "initializer=uniform",
                "initializer.low=-0.5",
                "initializer.high=0.5",
                "initializer.bias=0.1",
            ]
        ),
        *(
            ["loss=half_mse", "dataset.target_scaling=none"]
            if regression
            else ["loss=tanh_half_mse"]
        ),
        "optimizer=sgd",
        f"optimizer.lr={_text(_number(values, 'learningRate', 0, 1e6))}",
        "training=minibatch",
        f"training.batch_size={batch}",
        "training.shuffle=false",
    ]
    differences = ["the seed draws other points and weights than the Playground's generator"]
    penalty = _OPTIONS["regularization"][values["regularization"]]
    rate = _number(values, "regularizationRate", 0, 1e6)
    if penalty and rate:
        overrides.append(f"training.{penalty}={_text(rate)}")
        if penalty == "l1":
            differences.append(
                "the Playground fixes a weight at 0 once its penalty moves it across 0; here it may"
                " move on"
            )
    train = (1200 if regression else 500) * percent // 100
    if train % batch:
        differences.append(
            f"the last {train % batch} of {train} examples make an update of their own; the"
            f" Playground adds them to the first {batch} of the next epoch"
        )
    overrides.append(f"seed={_seed(values['seed'], differences)}")
    return PlaygroundLink(tuple(overrides), tuple(left_out), tuple(differences))


def _properties(link: str) -> tuple[dict[str, str], list[str]]:
    """Return all properties of the link, and a remark on each that is left out."""
    address, hash_sign, fragment = link.strip().partition("#")
    if not re.fullmatch(r"(https?://)?playground\.tensorflow\.org/?", address) or not hash_sign:
        raise ConfigError(
            f"'{link[:80]}' is not a link of the TensorFlow Playground, such as"
            f" '{ADDRESS}#batchSize=10&networkShape=4,2'. Copy its address from"
            " the browser, and quote it."
        )
    if len(fragment) > _MAX_LENGTH:
        raise ConfigError(
            f"The link has {len(link)} characters; a link of the Playground is short."
        )
    values, left_out = dict(_DEFAULTS), []
    for pair in filter(None, fragment.split("&")):
        key, _, value = pair.partition("=")
        value = unquote(value).strip()
        if key not in _DEFAULTS:
            hidden = key.endswith("_hide")
            similar = "" if hidden else did_you_mean(key, _DEFAULTS).strip()
            left_out.append(" ".join(filter(None, [f"{key} (no counterpart)", similar])))
            continue
        if value == "" and key != "networkShape":
            continue  # as the Playground does
        if key in _OPTIONS and value not in _OPTIONS[key]:
            raise ConfigError(
                f"The link has {key}={value}, which the Playground does not know."
                f" {did_you_mean(value, _OPTIONS[key])}Choices: {listing(_OPTIONS[key])}."
            )
        if key in _WITHOUT_COUNTERPART and value not in ("false", ""):
            left_out.append(f"{key} ({_WITHOUT_COUNTERPART[key]})")
        values[key] = value
    return values, left_out


def _is_true(value: str) -> bool:
    return value != "false"  # as the Playground reads it


def _number(
    values: Mapping[str, str], key: str, low: float, high: float, whole: bool = False
) -> float:
    try:
        number = float(values[key])
    except ValueError:
        number = float("nan")
    if not low <= number <= high or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise ConfigError(
            f"The link has {key}={values[key]}; it takes {kind}, {low:g} to {high:g}."
        )
    return number


def _shape(text: str) -> list[int]:
    if not re.fullmatch(r"([1-9]\d{0,4}(,[1-9]\d{0,4})*)?", text):
        raise ConfigError(
            f"The link has networkShape={text}; it takes the widths of the hidden layers, such as"
            " 4,2."
        )
    return [int(units) for units in text.split(",") if units]


def _seed(text: str, differences: list[str]) -> int:
    """Return the digits of a seed as the Playground writes it, 0.12345, or a whole number.

    Any other text becomes its checksum, which is noted.
    """
    if match := re.fullmatch(r"0\.(\d{5})|(\d{1,9})", text):
        return int(match[1] or match[2])
    differences.append(f"the seed '{text}' became a number")
    return zlib.crc32(text.encode())


def _text(number: float) -> str:
    """Return a number as the Playground's JavaScript writes it: 10, 0.03, 0.00001."""
    number = round(number, 12)
    if number == int(number):
        return str(int(number))
    return f"{number:.12f}".rstrip("0")


def write_link(config: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the link to the network of a resolved configuration, and an empty string; or None and
    a sentence that says why the Playground has no such network.
    """
    from mlplab.config.composer import Composer

    link = _candidate(config)
    expected = Composer(read_link(link).overrides).compose_run().config
    differing = [
        f"{key} is {_shown(value)}, and the Playground has {_shown(other)}"
        for key, value, other in _differences(_compared(config), _compared(expected))
        if key not in _FREE
    ]
    if not differing:
        return link, ""
    more = f", and {len(differing) - 2} more" if len(differing) > 2 else ""
    return None, f"The Playground has no such network: {'; '.join(differing[:2])}{more}."


def _candidate(config: Mapping[str, Any]) -> str:
    """Return the link whose network is nearest to that of the configuration."""

    def entry(group: str, key: str, default: Any) -> Any:
        node = config.get(group)
        return node.get(key, default) if isinstance(node, Mapping) else default

    def number(group: str, key: str, default: float) -> float:
        value = entry(group, key, default)
        ok = isinstance(value, (int, float)) and 0 <= value <= 1e6
        return float(value) if ok else default

    values = dict(_DEFAULTS)
    name = entry("dataset", "name", "")
    values["dataset"] = _key_of(name, _DATASETS) or values["dataset"]
    if regression := _key_of(name, _REGRESSION_DATASETS):
        values |= {"problem": "regression", "regDataset": regression}
    activation = _key_of(entry("activation", "name", ""), _ACTIVATIONS)
    values["activation"] = activation or values["activation"]
    features = entry("dataset", "features", None) or ["x1", "x2"]
    if set(features) & set(_INPUTS.values()):
        values |= {key: str(feature in features).lower() for key, feature in _INPUTS.items()}
    if (widths := _widths(entry("model", "hidden", None))) is not None:
        values["networkShape"] = ",".join(map(str, widths))
    percent = round(100 * (1 - number("dataset", "test", 0.5)))
    values["percTrainData"] = str(min(99, max(1, percent)))
    values["noise"] = _text(min(50, number("dataset", "noise", 0)))
    values["learningRate"] = _text(number("optimizer", "lr", 0.03))
    values["batchSize"] = _text(max(1, int(number("training", "batch_size", 10))))
    values["initZero"] = str(entry("initializer", "name", "") == "zeros").lower()
    for key, penalty in (("l1", "L1"), ("l2", "L2")):
        if rate := number("training", key, 0):
            values |= {"regularization": penalty, "regularizationRate": _text(rate)}
    seed = config.get("seed", 0)
    values["seed"] = f"0.{seed:05d}" if isinstance(seed, int) and seed < 10**5 else str(seed)
    pairs = (
        f"{key}={value}"
        for key, value in values.items()
        if value != "" or key == "networkShape"
        if (key, value) != ("regularization", "none")
    )
    return f"{ADDRESS}#{'&'.join(pairs)}"


def _widths(hidden: object) -> list[int] | None:
    """Return the widths of the hidden layers; None if a layer has options of its own."""
    try:
        layers = Mlp(hidden=hidden).layers()
    except FieldError:
        return None
    widths = [layer["units"] for layer in layers if len(layer) == 1]
    sound = len(widths) == len(layers) and all(type(w) is int and 0 < w < 10**5 for w in widths)
    return [int(str(width)) for width in widths] if sound else None


def _key_of(value: object, table: Mapping[str, str]) -> str | None:
    return next((key for key, name in table.items() if name == value), None)


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that decide what is learned, in one notation, with dotted keys."""
    flat: dict[str, Any] = {}
    for group in _COMPARED:
        node = config.get(group)
        for key, value in (node if isinstance(node, Mapping) else {"name": node}).items():
            flat[group if key == "name" else f"{group}.{key}"] = value
    if sorted(flat.get("dataset.features") or ()) == ["x1", "x2"]:
        flat["dataset.features"] = None
    elif flat.get("dataset.features"):
        flat["dataset.features"] = sorted(flat["dataset.features"])
    flat["model.hidden"] = _widths(flat.get("model.hidden")) or flat.get("model.hidden")
    flat["seed"] = config.get("seed")
    return {key: float(v) if type(v) is int else v for key, v in flat.items()}


def _differences(of_run: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [
        (key, of_run.get(key), other.get(key))
        for key in dict.fromkeys([*of_run, *other])
        # the keys of another choice differ because the choice does
        if of_run.get(key) != other.get(key)
        and ("." not in key or _same_choice(key, of_run, other))
    ]


def _same_choice(key: str, of_run: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    group = key.partition(".")[0]
    return bool(of_run.get(group) == other.get(group))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
