"""A composed configuration becomes Settings: every key is consumed by the class that it belongs to,
and checked on the way.

What needs no part is checked first; the parts, and torch with them, are imported after that.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlplab.config import cross_checks, security
from mlplab.config.component import ConfigNode, build_component, construct
from mlplab.config.composition import Composed
from mlplab.config.root import COMPONENT_GROUPS, GROUPS, Root
from mlplab.config.suggestions import did_you_mean, listing, shown
from mlplab.errors import ConfigError
from mlplab.schema import rules

if TYPE_CHECKING:
    from mlplab.network.layer import Layer
    from mlplab.settings import Settings


def build(composed: Composed, trains: bool = True) -> Settings:
    """The typed settings of one run; `trains=False` where it is only read, on a machine that may
    lack its device. Raises ConfigError.
    """
    config = copy.deepcopy(composed.config)
    security.refuse_code(config)
    # of a folder that was written before there was another
    config.setdefault("validation", {"name": "holdout"})
    root = _root(config, composed)
    _check_groups(config, composed)
    parts = {
        group: build_component(group, config[group], ConfigNode(group, composed.sources))
        for group in COMPONENT_GROUPS
        if group != "model"
    }
    layers = _layers(config["model"], parts, ConfigNode("model", composed.sources))
    from mlplab.settings import Settings

    settings = Settings(
        name=root.name or "run",
        seed=secrets.randbits(32) if root.seed is None else root.seed,
        device=root.device,
        dtype=root.dtype,
        deterministic=root.deterministic,
        layers=layers,
        config=config,
        overrides=composed.overrides,
        **{
            group: part
            for group, part in parts.items()
            if group not in ("activation", "initializer")
        },
    )
    config.update(name=settings.name, seed=settings.seed)
    cross_checks.check(settings, composed.sources, trains)
    return settings


def _root(config: Mapping[str, Any], composed: Composed) -> Root:
    """The keys beside the groups; a number is welcome as a name."""
    known = rules(Root)
    unknown = [key for key in config if key not in known and key not in GROUPS]
    if unknown:
        origin = composed.sources.of(unknown[0])
        raise ConfigError(
            f"`{unknown[0]}` is unknown{f' ({origin})' if origin else ''}: the configuration has no"
            f" such group or key. {did_you_mean(unknown[0], [*known, *GROUPS])}Groups:"
            f" {', '.join(GROUPS)}. Keys beside them: {', '.join(known)}."
        )
    values = {key: config[key] for key in known if key in config}
    if isinstance(values.get("name"), (int, float)) and not isinstance(values["name"], bool):
        values["name"] = str(values["name"])
    from mlplab.errors import FolderError
    from mlplab.run_names import check_name

    root = construct(Root, values, ConfigNode("", composed.sources))
    try:
        check_name(root.name or "run")
    except FolderError as error:
        origin = composed.sources.of("name")
        raise ConfigError(
            f"{str(error).removesuffix('.')} ({origin})." if origin else str(error)
        ) from error
    return root


def _check_groups(config: Mapping[str, Any], composed: Composed) -> None:
    for group in COMPONENT_GROUPS:
        node = config.get(group)
        if not isinstance(node, dict):
            raise ConfigError(
                f"`{group}` is {shown(node)}, and it needs a choice: {group}=WORD. `mlplab list"
                f" {group}` shows the words."
            )
        if not isinstance(node.get("name"), str):
            origin = composed.sources.file(group)
            raise ConfigError(
                f"`{group}.name` is missing{f' in {origin}' if origin else ''}: it is the word of"
                " the class, as in `name: adam`."
            )


def _layers(
    node: Mapping[str, Any], parts: Mapping[str, Any], place: ConfigNode
) -> tuple[Layer, ...]:
    """The hidden layers and the output layer, each with parts of its own where it names them."""
    from mlplab.network.layer import Layer

    model = build_component("model", node, place)
    biases = _named("initializer", model.bias_initializer, place.inside("bias_initializer"))
    layers = []
    for i, written in enumerate(model.layers()):
        here = place.inside(f"hidden[{i}]")
        keys = _layer_keys(written, here)
        layers.append(
            Layer(
                units=keys.units,
                activation=_named("activation", keys.activation, here.inside("activation"))
                or parts["activation"],
                initializer=_named("initializer", keys.initializer, here.inside("initializer"))
                or parts["initializer"],
                bias_initializer=biases,
                bias=model.bias if keys.bias is None else keys.bias,
                normalization=keys.normalization or model.normalization,
                dropout=model.dropout if keys.dropout is None else keys.dropout,
            )
        )
    last = (
        _named("initializer", model.output_initializer, place.inside("output_initializer"))
        or parts["initializer"]
    )
    return (*layers, Layer(0, None, last, biases, model.bias))


def _layer_keys(written: Mapping[str, Any], place: ConfigNode) -> Any:
    from mlplab.config.model import LayerKeys

    known = list(rules(LayerKeys))
    for key in written:
        if key not in known:
            raise ConfigError(
                f"{place.at(str(key))} is unknown: a layer has no key `{key}`."
                f" {did_you_mean(str(key), known)}It has {listing(known)}."
            )
    return construct(LayerKeys, written, place)


def _named(group: str, written: object, place: ConfigNode) -> Any:
    """A part inside a layer: a word, a mapping with a name, or nothing."""
    if written is None:
        return None
    node = {"name": written} if isinstance(written, str) else written
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        raise ConfigError(
            f"{place.at()} = {shown(written)} is no {group}: write a word, or a mapping with its"
            " name such as {name: WORD, KEY: VALUE}."
        )
    return build_component(group, node, place)
