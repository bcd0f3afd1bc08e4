"""Composition with Hydra: the user's overrides become one resolved dictionary of plain values.

It works in a notebook and on the command line, any number of times per process, and imports neither
torch nor scikit-learn.
"""

from __future__ import annotations

import copy
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import error_hints, plugins, security
from mlplab.config.override_lines import key_of
from mlplab.config.overrides import check_overrides, parse_overrides, to_hydra
from mlplab.config.provenance import Sources
from mlplab.config.run_dir import folders_below, quoted
from mlplab.config.search_path import config_folders
from mlplab.config.shipped_experiments import (
    TABLE,
    expanded,
    is_implied,
    typed_choices,
    with_default_experiment,
)
from mlplab.config.suggestions import did_you_mean
from mlplab.config.sweep_options import Sweep
from mlplab.errors import ConfigError
from mlplab.schema import rules

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

HYDRA_VERSIONS = ((1, 3, 8), (1, 4))


@dataclass(frozen=True)
class Composed:
    """A resolved configuration as plain dicts and lists, and the sources it was composed of.

    `run_dir` and `sweep_dir` are the folders of a run or sweep from hydra.run.dir and
    hydra.sweep.dir, relative to the working folder. `sweep` is the node of that name, which is
    excluded from a run's configuration. A stored configuration becomes `Composed(config)`.
    `is_guarded` is true if code was refused in it already, before interpolations were resolved.
    """

    config: dict[str, Any]
    run_dir: str | None = None
    sweep_dir: str | None = None
    sources: Sources = field(default_factory=Sources)
    is_multirun: bool = False
    sweep: Sweep = field(default_factory=Sweep)
    is_guarded: bool = False

    @property
    def is_sweep(self) -> bool:
        """Whether hydra.mode, the node `sweep` or a cross-validation asks for several jobs."""
        return self.is_multirun or self.sweep.has_several_jobs or all_folds(self.config)

    @property
    def overrides(self) -> tuple[str, ...]:
        """The user's overrides."""
        return self.sources.overrides

    def with_overrides(self, overrides: tuple[str, ...]) -> Composed:
        """Return the configuration with other overrides, of which it was composed."""
        return replace(self, sources=replace(self.sources, overrides=overrides))


def compose(
    overrides: Sequence[str] = (), config_dirs: Iterable[str | Path] = (), complete: bool = True
) -> Composed:
    """Return the configuration of one run. Raises ConfigError for every kind of mistake.

    With `complete=False`, required keys may still have the value ???.
    """
    run_overrides, dirs = split_search_path(overrides, config_dirs)
    plugins.load_installed()
    folders = config_folders(dirs)
    parsed = parse_overrides(run_overrides)
    check_overrides(parsed, folders, multirun=False)
    return resolve_tree(compose_tree(parsed, folders), tuple(overrides), folders, complete)


def compose_tree(parsed: Sequence[Override], folders: Sequence[Path]) -> DictConfig:
    """Return the tree that Hydra composes of checked overrides. Raises ConfigError."""
    from omegaconf import read_write

    lines = expanded(parsed)
    try:
        tree = hydra_compose(to_hydra(lines), folders)
    except Exception as error:
        raise error_hints.explain_failure(
            error, lines, folders, lambda choices: plain_tree(hydra_compose(choices, folders))
        ) from error
    if typed_choices(with_default_experiment(parsed)).get("experiment") == TABLE:
        with read_write(tree.hydra):
            tree.hydra.runtime.choices["experiment"] = TABLE
    return tree


def split_search_path(
    overrides: Sequence[str], config_dirs: Iterable[str | Path]
) -> tuple[list[str], list[str | Path]]:
    """Return the overrides without hydra.searchpath, and all folders to search. `outputs=DIR`
    becomes the folders of Hydra that it stands for.

    The folders of hydra.searchpath are added to those of --config-dir. Packages are refused,
    because Hydra would import them.
    """
    others: list[str] = []
    dirs = list(config_dirs)
    for override in overrides:
        if not isinstance(override, str):
            raise ConfigError(f"The override {override!r} is not a string: write 'key=value'.")
        key = key_of(override)
        if key == "outputs":
            others += _output_folders(override, overrides)
            continue
        if key != "hydra.searchpath":
            others.append(override)
            continue
        value = parse_overrides([override])[0].value()
        for path in value if isinstance(value, list) else [value]:
            if not isinstance(path, str) or ("://" in path and not path.startswith("file://")):
                raise ConfigError(
                    f"`{override}`: only folders can be searched; a package would be imported."
                    " Write --config-dir FOLDER."
                )
            dirs.append(path.removeprefix("file://"))
    return others, dirs


def _output_folders(line: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of the folders of runs and sweeps that `outputs=DIR` stands for, without
    those that are typed themselves.
    """
    value = parse_overrides([line])[0].value()
    if not isinstance(value, (str, int, float)) or not str(value).strip():
        raise ConfigError(
            f"`{line}` is not one folder: write outputs=DIR, below which runs and sweeps create"
            " theirs."
        )
    typed = set(map(key_of, overrides))
    return [
        f"{key}={quoted(folder)}"
        for key, folder in folders_below(str(value)).items()
        if key not in typed
    ]


def hydra_compose(overrides: Sequence[str], folders: Sequence[Path]) -> DictConfig:
    """Return the tree that Hydra composes, including the node `hydra`.

    Compositions are cached: one takes longer than training a small network, and programs that train
    many of them repeat the same choices.
    """
    from omegaconf import OmegaConf, read_write

    _check_version()
    components = tuple(
        (group, *item)
        for group in plugins.OPEN_GROUPS
        for item in plugins.registered(group).items()
    )
    files = tuple(
        (path, stat.st_mtime_ns, stat.st_size)
        for folder in folders[1:]
        for path in sorted(folder.rglob("*.yaml"))
        for stat in [path.stat()]
    )
    tree = copy.deepcopy(_composed(tuple(overrides), tuple(folders), components, files))
    OmegaConf.clear_cache(tree)  # a new name for the folder of each run
    with read_write(tree.hydra):
        tree.hydra.runtime.cwd = os.getcwd()
    return tree


@lru_cache(maxsize=256)
def _composed(
    overrides: tuple[str, ...],
    folders: tuple[Path, ...],
    components: tuple[object, ...],
    files: tuple[object, ...],
) -> DictConfig:
    """Return the composition; the components of plugins and the user's files are keys only."""
    from hydra import compose as compose_config

    with initialized(folders[0]):
        return compose_config(
            "config",
            overrides=[*overrides, *hydra_search_path(folders)],
            return_hydra_config=True,
        )


@contextmanager
def initialized(folder: Path) -> Iterator[Any]:
    """Initialize Hydra with a folder of configurations, and return its application.

    Hydra's global state is restored afterwards, also inside another Hydra application.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    prepare()
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(config_dir=str(folder), job_name="mlplab", version_base="1.3"):
            yield GlobalHydra.instance().hydra
    finally:
        GlobalHydra.instance().hydra = outer


def hydra_search_path(folders: Sequence[Path]) -> list[str]:
    """Return the override that adds the user's folders to Hydra's search path, if there are any."""
    urls = [
        "'file://" + str(folder).replace("\\", "\\\\").replace("'", "\\'") + "'"
        for folder in folders[1:]
    ]
    return [f"hydra.searchpath=[{','.join(urls)}]"] if urls else []


@lru_cache(maxsize=1)
def _check_version() -> None:
    import hydra

    version = tuple(int(digits) for digits in hydra.__version__.split(".")[:3] if digits.isdigit())
    if not HYDRA_VERSIONS[0] <= version < HYDRA_VERSIONS[1]:
        raise ConfigError(
            f"mlplab needs hydra-core >= 1.3.8, < 1.4, but {hydra.__version__} is installed; older"
            " versions run code that a configuration names."
        )


def prepare() -> None:
    """Register mlplab's resolver and the components of plugins with Hydra."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from mlplab.config.yaml_render import defaults

    OmegaConf.register_new_resolver("mlplab.stamp", stamp, replace=True, use_cache=True)
    for group in plugins.OPEN_GROUPS:
        for name, component in plugins.registered(group).items():
            node = {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in defaults(component).items()
            }
            ConfigStore.instance().store(
                group=group, name=name, node={"name": name, **node}, provider="plugin"
            )


def stamp() -> str:
    """Return a name for a run's folder: the time and eight random digits that make it unique."""
    return time.strftime("%Y-%m-%d_%H-%M-%S-") + secrets.token_hex(4)


def resolve_tree(
    tree: DictConfig, overrides: tuple[str, ...], folders: Sequence[Path], complete: bool = True
) -> Composed:
    """Check a composed tree and resolve it to plain values. Raises ConfigError."""
    from omegaconf import open_dict

    raw = plain_tree(tree)
    hydra_node = raw.pop("hydra")
    security.refuse_code(raw)
    security.check_hydra(hydra_node)
    choices: Mapping[str, object] = hydra_node["runtime"]["choices"]
    sources = Sources(
        overrides,
        {group: name for group, name in choices.items() if isinstance(name, str)},
        tuple(folders),
    )
    with open_dict(tree):
        tree.name = raw["name"] = _name(raw, choices, overrides)
    config = _resolve(tree, list(raw), sources, complete)
    if not is_resolved(raw):
        security.refuse_code(config)
    sweep = _sweep(config.pop("sweep", {}), sources)
    run_dir, sweep_dir = (_folder(tree, key) for key in ("hydra.run.dir", "hydra.sweep.dir"))
    mode = hydra_node.get("mode")
    is_multirun = getattr(mode, "name", mode) == "MULTIRUN"
    return Composed(config, run_dir, sweep_dir, sources, is_multirun, sweep, is_guarded=True)


def all_folds(config: Mapping[str, object]) -> bool:
    """Return whether the configuration asks for one network per fold."""
    node = config.get("validation")
    is_kfold = isinstance(node, dict) and node.get("name") == "kfold" and node.get("fold") is None
    return is_kfold and config.get("ensemble") is None  # which trains all folds as one run


def _sweep(values: object, sources: Sources) -> Sweep:
    from mlplab.config.component import ConfigNode, construct

    node = ConfigNode("sweep", sources)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{node.describe()} is not a mapping with the keys {', '.join(rules(Sweep))}."
        )
    for key in values:
        if key not in rules(Sweep):
            raise ConfigError(
                f"{node.describe(str(key))} is unknown."
                f" {did_you_mean(str(key), rules(Sweep), '`sweep.{}`')}The keys of sweep:"
                f" {', '.join(rules(Sweep))}."
            )
    return construct(Sweep, values, node)


def _folder(tree: DictConfig, key: str) -> str:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return str(OmegaConf.select(tree, key, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"`{key}` cannot be resolved: {str(error).splitlines()[0]}.") from error


def _name(
    raw: Mapping[str, object], choices: Mapping[str, object], overrides: Sequence[str]
) -> object:
    if raw.get("name") is not None:
        return raw["name"]
    experiment = None if is_implied(overrides, choices) else choices.get("experiment")
    return str(experiment or choices.get("dataset") or "run").replace(os.sep, "_").replace("/", "_")


def is_resolved(tree: Mapping[str, object]) -> bool:
    """Return whether no value outside the nodes of Hydra and `sweep` is missing or refers to
    another one.
    """
    text = repr({key: value for key, value in tree.items() if key not in ("hydra", "sweep")})
    return "${" not in text and "???" not in text


def plain_tree(tree: DictConfig) -> dict[str, Any]:
    """Return the tree as plain dicts and lists, with its interpolations as text."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(tree, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _resolve(
    tree: DictConfig, keys: Sequence[str], sources: Sources, complete: bool
) -> dict[str, object]:
    from omegaconf import OmegaConf
    from omegaconf.errors import (
        InterpolationResolutionError,
        MissingMandatoryValue,
        OmegaConfBaseException,
    )

    config: dict[str, object] = {}
    for key in keys:
        try:
            value = tree[key]
            config[key] = (
                OmegaConf.to_container(value, resolve=True, throw_on_missing=complete)
                if OmegaConf.is_config(value)
                else value
            )
        except OmegaConfBaseException as error:
            path = getattr(error, "full_key", None) or key
            if isinstance(error, MissingMandatoryValue):
                raise ConfigError(
                    f"`{path}` has no default and must be given: {path}=... (`mlplab list {key}"
                    f" {sources.choices.get(key, '')}` explains it)."
                ) from error
            kind = (
                "is an interpolation that leads nowhere"
                if isinstance(error, InterpolationResolutionError)
                else "cannot be resolved"
            )
            raise ConfigError(
                f"`{path}` {kind}{sources.remark(path)}: {str(error).splitlines()[0]}."
            ) from error
    return config
