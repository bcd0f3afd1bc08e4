"""Hydra in, plain values out: words typed by the user become one resolved dictionary.

It works from a notebook as from the command line, any number of times in a process, and imports
neither torch nor scikit-learn.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import error_hints, plugins, security
from mlplab.config.overrides import check_overrides, parse_overrides, to_hydra
from mlplab.config.provenance import Sources
from mlplab.config.search_path import config_folders
from mlplab.config.suggestions import did_you_mean
from mlplab.config.sweep_options import Sweep
from mlplab.errors import ConfigError
from mlplab.schema import rules

if TYPE_CHECKING:
    from omegaconf import DictConfig

HYDRA_VERSIONS = ((1, 3, 8), (1, 4))


@dataclass(frozen=True)
class Composed:
    """A resolved configuration in plain dicts and lists, and what it was composed of.

    `run_dir` and `sweep_dir` are where hydra.run.dir and hydra.sweep.dir place a run or a sweep,
    relative to the folder of the command. `sweep` is the node of that name, which is no part of a
    run's configuration; `sweeps` is true where it, or hydra.mode=MULTIRUN, asks for several jobs. A
    stored configuration becomes `Composed(config)`.
    """

    config: dict[str, Any]
    run_dir: str | None = None
    sweep_dir: str | None = None
    sources: Sources = field(default_factory=Sources)
    sweeps: bool = False
    sweep: Sweep = field(default_factory=Sweep)

    @property
    def overrides(self) -> tuple[str, ...]:
        """The words that were typed."""
        return self.sources.overrides


def compose(
    overrides: Sequence[str] = (), config_dirs: Iterable[str | Path] = (), complete: bool = True
) -> Composed:
    """The configuration of one run. Raises ConfigError, whatever is wrong with it. Unless
    `complete`, a key that must be given may still be ???.
    """
    typed, dirs = split_search_path(overrides, config_dirs)
    plugins.load_installed()
    where = config_folders(dirs)
    parsed = parse_overrides(typed)
    check_overrides(parsed, where, multirun=False)
    try:
        tree = hydra_compose(to_hydra(parsed), where)
    except Exception as error:
        raise error_hints.failure(
            error, parsed, where, lambda choices: _plain_tree(hydra_compose(choices, where))
        ) from error
    return resolve_tree(tree, tuple(overrides), where, complete)


def split_search_path(
    overrides: Sequence[str], config_dirs: Iterable[str | Path]
) -> tuple[list[str], list[str | Path]]:
    """Take hydra.searchpath out of the words: its folders are looked up like those of --config-dir.
    Packages are refused: naming one imports it.
    """
    typed: list[str] = []
    dirs = list(config_dirs)
    for word in overrides:
        if not isinstance(word, str):
            raise ConfigError(f"The override {word!r} is not a text: write 'key=value'.")
        if word.lstrip("+").partition("=")[0] != "hydra.searchpath":
            typed.append(word)
            continue
        value = parse_overrides([word])[0].value()
        for path in value if isinstance(value, list) else [value]:
            if not isinstance(path, str) or ("://" in path and not path.startswith("file://")):
                raise ConfigError(
                    f"`{word}`: only folders can be searched; a package would be imported. Write"
                    " --config-dir FOLDER."
                )
            dirs.append(path.removeprefix("file://"))
    return typed, dirs


def hydra_compose(typed: Sequence[str], where: Sequence[Path]) -> DictConfig:
    """Hydra's compose, with the Hydra node left in. Hydra's global state is as it was before, also
    inside another Hydra application.
    """
    from hydra import compose as compose_config
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    prepare()
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(config_dir=str(where[0]), job_name="mlplab", version_base="1.3"):
            return compose_config(
                "config", overrides=[*typed, *hydra_search_path(where)], return_hydra_config=True
            )
    finally:
        GlobalHydra.instance().hydra = outer


def hydra_search_path(where: Sequence[Path]) -> list[str]:
    """The override that gives Hydra the user's folders, where there are any."""
    if len(where) == 1:
        return []
    return [
        "hydra.searchpath=["
        + ",".join(
            "'file://" + str(folder).replace("\\", "\\\\").replace("'", "\\'") + "'"
            for folder in where[1:]
        )
        + "]"
    ]


@lru_cache(maxsize=1)
def _check_version() -> None:
    import hydra

    version = tuple(int(piece) for piece in hydra.__version__.split(".")[:3] if piece.isdigit())
    if not HYDRA_VERSIONS[0] <= version < HYDRA_VERSIONS[1]:
        raise ConfigError(
            f"mlplab needs hydra-core >= 1.3.8, < 1.4, and {hydra.__version__} is installed; older"
            " ones run code that a configuration names."
        )


def prepare() -> None:
    """Tell Hydra of our resolver and of the plugins' parts."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from mlplab.config.yaml_render import defaults

    _check_version()
    OmegaConf.register_new_resolver("mlplab.stamp", stamp, replace=True, use_cache=True)
    for group in plugins.OPEN_GROUPS:
        for word, part in plugins.registered(group).items():
            node = {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in defaults(part).items()
            }
            ConfigStore.instance().store(
                group=group, name=word, node={"name": word, **node}, provider="plugin"
            )


def stamp() -> str:
    """The name of a run's folder: its time, and eight random digits so that no two runs share
    it.
    """
    return time.strftime("%Y-%m-%d_%H-%M-%S-") + secrets.token_hex(4)


def resolve_tree(
    tree: DictConfig, overrides: tuple[str, ...], where: Sequence[Path], complete: bool = True
) -> Composed:
    """A composed tree, checked and resolved to plain values."""
    from omegaconf import open_dict

    raw = _plain_tree(tree)
    hydra_node = raw.pop("hydra")
    security.refuse_code(raw)
    security.check_hydra(hydra_node)
    choices: Mapping[str, Any] = hydra_node["runtime"]["choices"]
    sources = Sources(
        overrides,
        {group: word for group, word in choices.items() if isinstance(word, str)},
        tuple(where),
    )
    with open_dict(tree):
        tree.name = raw["name"] = _name(raw, choices)
    config = _resolve(tree, list(raw), sources, complete)
    security.refuse_code(config)
    sweep = _sweep(config.pop("sweep", {}), sources)
    run_dir, sweep_dir = (_folder(tree, key) for key in ("hydra.run.dir", "hydra.sweep.dir"))
    mode = hydra_node.get("mode")
    several = sweep.several or getattr(mode, "name", mode) == "MULTIRUN" or all_folds(config)
    return Composed(config, run_dir, sweep_dir, sources, several, sweep)


def all_folds(config: Mapping[str, Any]) -> bool:
    """Whether the configuration means a network a fold."""
    node = config.get("validation")
    return isinstance(node, dict) and node.get("name") == "kfold" and node.get("fold") is None


def _sweep(node: object, sources: Sources) -> Sweep:
    from mlplab.config.component import ConfigNode, construct

    place = ConfigNode("sweep", sources)
    if not isinstance(node, dict):
        raise ConfigError(f"{place.at()} is not a mapping with the keys {', '.join(rules(Sweep))}.")
    for key in node:
        if key not in rules(Sweep):
            raise ConfigError(
                f"{place.at(str(key))} is unknown."
                f" {did_you_mean(str(key), rules(Sweep), '`sweep.{}`')}The keys of sweep:"
                f" {', '.join(rules(Sweep))}."
            )
    return construct(Sweep, node, place)


def _folder(tree: DictConfig, key: str) -> str:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return str(OmegaConf.select(tree, key, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"`{key}` cannot be resolved: {str(error).splitlines()[0]}.") from error


def _name(raw: Mapping[str, Any], choices: Mapping[str, Any]) -> object:
    if raw.get("name") is not None:
        return raw["name"]
    return (
        str(choices.get("experiment") or choices.get("dataset") or "run")
        .replace(os.sep, "_")
        .replace("/", "_")
    )


def _plain_tree(tree: DictConfig) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(tree, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _resolve(
    tree: DictConfig, keys: Sequence[str], sources: Sources, complete: bool
) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import (
        InterpolationResolutionError,
        MissingMandatoryValue,
        OmegaConfBaseException,
    )

    config: dict[str, Any] = {}
    for key in keys:
        try:
            value = tree[key]
            config[key] = (
                OmegaConf.to_container(value, resolve=True, throw_on_missing=complete)
                if OmegaConf.is_config(value)
                else value
            )
        except MissingMandatoryValue as error:
            path = getattr(error, "full_key", None) or key
            raise ConfigError(
                f"`{path}` has no default and must be given: {path}=... (`mlplab list {key}"
                f" {sources.choices.get(key, '')}` says what it is)."
            ) from error
        except OmegaConfBaseException as error:
            kind = (
                "is an interpolation that leads nowhere"
                if isinstance(error, InterpolationResolutionError)
                else "cannot be resolved"
            )
            path = getattr(error, "full_key", None) or key
            origin = sources.of(path)
            raise ConfigError(
                f"`{path}` {kind}{f' ({origin})' if origin else ''}: {str(error).splitlines()[0]}."
            ) from error
    return config
