"""Build Settings from a composed configuration: the class that a key belongs to validates it.

Everything that needs no component is checked first, because importing the components imports torch.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlplab.config import cross_checks, security
from mlplab.config.component import ConfigNode, build_component, construct
from mlplab.config.composition import Composed
from mlplab.config.model import LayerKeys
from mlplab.config.provenance import Sources
from mlplab.config.root import ADDED_GROUPS, COMPONENT_GROUPS, GROUPS, Root
from mlplab.config.sharing import Shared
from mlplab.config.suggestions import did_you_mean, listing, shown
from mlplab.errors import ConfigError, FolderError
from mlplab.run_names import check_name
from mlplab.schema import rules

if TYPE_CHECKING:
    from mlplab.network.layer import Layer
    from mlplab.settings import Settings


def build(composed: Composed, trains: bool = True) -> Settings:
    """Return the typed settings of one run. Raises ConfigError.

    `trains=False` is for a run that is only read, maybe on a machine without its device.
    """
    return Builder(trains).build(replace(composed, config=copy.deepcopy(composed.config)))


class Builder:
    """Builds the settings of many runs, whose equal nodes are checked and built once and shared.

    `trains` is as in `build`.
    """

    def __init__(self, trains: bool = True) -> None:
        self.trains = trains
        self._shared = Shared()
        self._guarded: set[object] = set()  # nodes, by their ids, and texts without code
        self._fields: dict[tuple[object, ...], dict[str, Any]] = {}
        self._components: dict[tuple[str, int], Any] = {}
        self._layers: dict[tuple[int, ...], tuple[Layer, ...]] = {}

    def build(self, composed: Composed) -> Settings:
        """Return the typed settings of one run. Raises ConfigError.

        The nodes of the configuration must not be changed afterwards.
        """
        config = {key: self._shared(node) for key, node in composed.config.items()}
        for group, node in ADDED_GROUPS.items():
            config.setdefault(group, self._shared(dict(node)))
        key = tuple(
            (name, id(node) if isinstance(node, (dict, list)) else (type(node), node))
            for name, node in config.items()
            if name != "seed"
        )
        if (fields := self._fields.get(key)) is None:
            fields = self._fields[key] = self._build_fields(config, composed)
        seed = config.get("seed", 0)
        if not (type(seed) is int and 0 <= seed < 1 << 32):
            seed = construct(Root, {"seed": seed}, ConfigNode("", composed.sources)).seed
        from mlplab.settings import Settings

        config["name"] = fields["name"]
        config["seed"] = seed = secrets.randbits(32) if seed is None else seed
        return Settings(
            **fields,
            seed=seed,
            config=config,
            overrides=composed.overrides,
            experiment=composed.sources.choices.get("experiment"),
        )

    def _build_fields(self, config: dict[str, Any], composed: Composed) -> dict[str, Any]:
        """Return the fields of Settings that do not depend on the seed."""
        sources = composed.sources
        if not composed.is_guarded:
            self._refuse_code(config)
        root = _root({key: node for key, node in config.items() if key != "seed"}, composed)
        _check_groups(config, composed)
        components = {
            group: self._component(group, config[group], sources)
            for group in COMPONENT_GROUPS
            if group != "model"
        }
        from mlplab.config.debugging import for_debugging
        from mlplab.settings import Settings

        fields: dict[str, Any] = {
            "name": root.name or "run",
            "device": root.device,
            "dtype": root.dtype,
            "deterministic": root.deterministic,
            "engine": root.engine,
            "debug": root.debug,
            "init_from": root.init_from,
            "ensemble": root.ensemble,
            "ensemble_ranges": root.ensemble_ranges,
            "layers": self._layers_of(config, components, sources),
            **{
                group: component
                for group, component in components.items()
                if group not in ("activation", "initializer")
            },
        }
        if root.debug is not None:
            fields = for_debugging(root.debug, fields)
        # the checks read no seed
        cross_checks.check(Settings(**fields, seed=0, config=config), sources, self.trains)
        return fields

    def _refuse_code(self, config: Mapping[str, Any]) -> None:
        """Raise ConfigError if a node that has not been checked yet could run code."""
        for key, node in config.items():
            checked = id(node) if isinstance(node, (dict, list)) else node
            if (key, checked) not in self._guarded:
                security.refuse_code({key: node})
                self._guarded.add((key, checked))

    def _component(self, group: str, node: Mapping[str, Any], sources: Sources) -> Any:
        key = group, id(node)
        if key not in self._components:
            self._components[key] = build_component(group, node, ConfigNode(group, sources))
        return self._components[key]

    def _layers_of(
        self, config: Mapping[str, Any], components: Mapping[str, Any], sources: Sources
    ) -> tuple[Layer, ...]:
        key = tuple(id(config[group]) for group in ("model", "activation", "initializer"))
        if key not in self._layers:
            self._layers[key] = _layers(config["model"], components, ConfigNode("model", sources))
        return self._layers[key]


def _root(config: Mapping[str, object], composed: Composed) -> Root:
    """Return the validated root keys. Numeric names are accepted."""
    root_rules = rules(Root)
    unknown = [key for key in config if key not in root_rules and key not in GROUPS]
    if unknown:
        raise ConfigError(
            f"`{unknown[0]}` is unknown{composed.sources.remark(unknown[0])}: the configuration has"
            f" no such group or key. {did_you_mean(unknown[0], [*root_rules, *GROUPS])}Groups:"
            f" {', '.join(GROUPS)}. Root keys: {', '.join(root_rules)}."
        )
    values = {key: config[key] for key in root_rules if key in config}
    if isinstance(values.get("name"), (int, float)) and not isinstance(values["name"], bool):
        values["name"] = str(values["name"])
    root = construct(Root, values, ConfigNode("", composed.sources))
    try:
        check_name(root.name or "run")
    except FolderError as error:
        reason = str(error).removesuffix(".")
        raise ConfigError(f"{reason}{composed.sources.remark('name')}.") from error
    return root


def _check_groups(config: Mapping[str, object], composed: Composed) -> None:
    for group in COMPONENT_GROUPS:
        values = config.get(group)
        if not isinstance(values, dict):
            raise ConfigError(
                f"`{group}` is {shown(values)}, but it needs a choice: {group}=NAME. `mlplab list"
                f" {group}` shows the choices."
            )
        if not isinstance(values.get("name"), str):
            origin = composed.sources.file(group)
            raise ConfigError(
                f"`{group}.name` is missing{f' in {origin}' if origin else ''}: it is the name of"
                " the class, as in `name: adam`."
            )


def _layers(
    values: Mapping[str, object], components: Mapping[str, Any], node: ConfigNode
) -> tuple[Layer, ...]:
    """Return the hidden layers and the output layer. A layer without its activation or initializer
    takes that of the group.
    """
    from mlplab.network.layer import Layer

    model = build_component("model", values, node)
    biases = _component("initializer", model.bias_initializer, node.child("bias_initializer"))
    layers = [
        _hidden_layer(values, model, biases, components, node.child(f"hidden[{i}]"))
        for i, values in enumerate(model.layers())
    ]
    if model.is_auto:  # one layer stands for those that the data decides
        hidden = _hidden_layer({"units": 1}, model, biases, components, node.child("hidden"))
        layers = [replace(hidden, units=0)]
    output_initializer = (
        _component("initializer", model.output_initializer, node.child("output_initializer"))
        or components["initializer"]
    )
    return (*layers, Layer(0, None, output_initializer, biases, model.bias))


def _hidden_layer(
    values: Mapping[str, object],
    model: Any,
    biases: Any,
    components: Mapping[str, Any],
    node: ConfigNode,
) -> Layer:
    from mlplab.network.layer import Layer

    keys = _layer_keys(values, node)
    return Layer(
        units=keys.units,
        activation=_component("activation", keys.activation, node.child("activation"))
        or components["activation"],
        initializer=_component("initializer", keys.initializer, node.child("initializer"))
        or components["initializer"],
        bias_initializer=biases,
        bias=model.bias if keys.bias is None else keys.bias,
        normalization=keys.normalization or model.normalization,
        dropout=model.dropout if keys.dropout is None else keys.dropout,
    )


def _layer_keys(values: Mapping[str, object], node: ConfigNode) -> LayerKeys:
    keys = list(rules(LayerKeys))
    for key in values:
        if key not in keys:
            raise ConfigError(
                f"{node.describe(str(key))} is unknown: a layer has no key `{key}`."
                f" {did_you_mean(str(key), keys)}It has {listing(keys)}."
            )
    return construct(LayerKeys, values, node)


def _component(group: str, value: object, node: ConfigNode) -> Any:
    """Return the component of a layer from a name or a mapping with a name; None for None."""
    if value is None:
        return None
    values = {"name": value} if isinstance(value, str) else value
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        raise ConfigError(
            f"{node.describe()} = {shown(value)} is not a valid {group}: write a name, or a mapping"
            " with the name such as {name: NAME, KEY: VALUE}."
        )
    return build_component(group, values, node)
