"""The compositions of one command line: Hydra composes each combination of group choices once, and
the remaining overrides of each job are applied to the result.

`Composer(...).compose(job)` equals `compose(job)`, which a test verifies, and takes a small
fraction of the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import plugins
from mlplab.config.composition import (
    Composed,
    compose_tree,
    is_resolved,
    plain_tree,
    resolve_tree,
    split_search_path,
)
from mlplab.config.group_choices import compose_choices
from mlplab.config.override_lines import key_of
from mlplab.config.overrides import (
    check_overrides,
    expand_glob,
    extends_mapping,
    is_sweep_key,
    parse_overrides,
)
from mlplab.config.root import GROUPS
from mlplab.config.run_dir import debug_folder
from mlplab.config.search_path import config_folders
from mlplab.config.sharing import Shared
from mlplab.config.suggestions import shown
from mlplab.errors import ConfigError
from mlplab.io.files import yaml_line

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig
Job = tuple[str, ...]


def override_list(overrides: object) -> list[str]:
    """Return overrides from Python as a list: from a sequence, one override, a mapping, or None.

    Raises ConfigError for anything else.
    """
    if overrides is None:
        return []
    if isinstance(overrides, str):
        return [overrides]
    if isinstance(overrides, Mapping):
        return [f"{key}={yaml_line(value, json.dumps)}" for key, value in overrides.items()]
    if isinstance(overrides, Iterable):
        chosen = list(overrides)
        if all(isinstance(override, str) for override in chosen):
            return chosen
    raise ConfigError(
        f"The overrides are {shown(overrides)}, but they are a list of texts such as"
        " ['experiment=xor_mlp', 'seed=3'], or a mapping such as {'seed': 3}."
    )


@dataclass(frozen=True)
class _Base:
    """The composition of group choices: its values, which may be incomplete, and Hydra's tree with
    its interpolations as text.
    """

    composed: Composed
    tree: dict[str, Any]

    @property
    def folders_are_fixed(self) -> bool:
        """Whether neither the folders nor the node `sweep` refer to values of a job."""
        folders = self.tree["hydra"]["run"], self.tree["hydra"]["sweep"]["dir"], self.tree["sweep"]
        return "${" not in repr(folders).replace("${name}", "").replace("${mlplab.stamp:}", "")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The values that belong to the configuration of a job."""
        return {key: self.tree[key] for key in self.composed.config}

    @cached_property
    def unresolved(self) -> frozenset[str]:
        """The top-level keys below which a value is missing or refers to another one."""
        return frozenset(key for key, node in self.tree.items() if not is_resolved({key: node}))


@dataclass(frozen=True)
class _Node:
    """What overrides make of the value of one top-level key; `value` is shared between jobs.

    `is_possible` is false for overrides that only Hydra can apply or explain.
    """

    value: Any
    is_resolved: bool
    is_possible: bool


class Composer:
    """The overrides of a command line, parsed and checked, and the compositions of its jobs.

    Raises ConfigError for an invalid override.
    """

    def __init__(
        self, overrides: Sequence[str] = (), config_dirs: Iterable[str | Path] = ()
    ) -> None:
        plugins.load_installed()
        lines, self.dirs = split_search_path(overrides, config_dirs)
        self.overrides, self.folders = tuple(lines), config_folders(self.dirs)
        self.search_path = tuple(
            line for line in overrides if line.lstrip("+").startswith("hydra.searchpath=")
        )
        self._checked: dict[str, Override] = {}
        self._keys_of_numbers: set[str] = set()
        self._bases: dict[Job, _Base] = {}
        self._nodes: dict[tuple[int, str, Job], _Node] = {}
        self._shared = Shared()
        self.parsed = self.parse(lines)
        for override in self.parsed:
            if override.is_sweep_override():
                check_overrides([override], self.folders, multirun=True)
            else:
                self._check(override.input_line or "")
        self.fixed = tuple(o.input_line or "" for o in self.parsed if _applies_to_sweep(o))
        self.job_overrides = [o for o in self.parsed if not _applies_to_sweep(o)]

    def parse(self, lines: Iterable[str]) -> list[Override]:
        """Return the parsed overrides; a glob becomes the choices that match it."""
        return [expand_glob(override, self.folders) for override in parse_overrides(lines)]

    def choices(self, job: Iterable[str]) -> Job:
        """Return the overrides of a job that choose something from a group or name the run, which
        the paths of its folders contain.
        """
        return tuple(line for line in job if (key := key_of(line)) in GROUPS or key == "name")

    def search_override(self) -> bool | None:
        """Return whether the overrides request a search; None if none of them decides it.

        The sweeper mlplab_search or a number of trials requests one.
        """
        values = {override.key_or_group: override.value() for override in self.parsed}
        if "hydra/sweeper" in values:
            return values["hydra/sweeper"] == "mlplab_search"
        return values["sweep.trials"] is not None if "sweep.trials" in values else None

    def is_search(self) -> bool:
        """Return whether the overrides, or the experiment that they choose, request a search."""
        requested, base = self.search_override(), self._experiment()
        if requested is None and base is not None:
            sweeper = base.sources.choices.get("hydra/sweeper")
            return base.sweep.trials is not None or sweeper == "mlplab_search"
        return bool(requested)

    def is_multirun(self) -> bool:
        """Return whether hydra.mode=MULTIRUN is typed or set by the experiment, as -m does."""
        modes = [str(o.value()) for o in self.parsed if o.key_or_group == "hydra.mode"]
        base = self._experiment()
        return modes[-1] == "MULTIRUN" if modes else base is not None and base.is_multirun

    def _experiment(self) -> Composed | None:
        """Return the composition of the overrides with one value if they choose an experiment."""
        single = [o for o in self.job_overrides if not o.is_sweep_override()]
        if any(o.key_or_group == "experiment" for o in single):
            return self.base(o.input_line or "" for o in single)
        return None

    def base(self, job: Iterable[str]) -> Composed:
        """Return the composition of a job's group choices, without its other overrides.

        Required keys may still have the value ???.
        """
        return self._base(self.choices(job)).composed

    def compose(self, job: Job) -> Composed:
        """Return the configuration of a job. Raises ConfigError."""
        if any(_applies_to_sweep(self._check(line)) for line in job):
            return self._compose_with_hydra(job, job)
        choices = self.choices(job)
        base = self._base(choices)
        lines: dict[str, Job] = {}
        for line in job:
            if line not in choices:
                head = self._check(line).key_or_group.partition(".")[0]
                lines[head] = (*lines.get(head, ()), line)
        nodes = {head: self._node(base, head, of_head) for head, of_head in lines.items()}
        if not all(node.is_possible for node in nodes.values()):
            return self._compose_with_hydra((*job, *self.fixed), job)
        values = {head: node.value for head, node in nodes.items()}
        if base.unresolved <= nodes.keys() and all(node.is_resolved for node in nodes.values()):
            config = {**base.config, **{k: v for k, v in values.items() if k in base.config}}
            return replace(base.composed, config=config).with_overrides(job)
        from omegaconf import OmegaConf

        tree = OmegaConf.create({**base.tree, **values})
        return resolve_tree(tree, job, self.folders)

    def _node(self, base: _Base, head: str, lines: Job) -> _Node:
        """Return what the lines make of the value of the top-level key `head`."""
        old = base.tree.get(head)
        cached = self._nodes.get((id(old), head, lines))
        if cached is not None:
            return cached
        tree = {head: old} if head in base.tree else {}
        is_possible = all(_set(tree, self._check(line)) for line in lines)
        value = self._shared(tree.get(head))
        node = _Node(value, is_resolved({head: value}), is_possible)
        if isinstance(old, dict):  # a number or a text of the root has no nodes to share
            self._nodes[id(old), head, lines] = node
        return node

    def compose_run(self) -> Composed:
        """Return the configuration of a single run. Raises ConfigError, also for several values."""
        job = tuple(override.input_line or "" for override in self.job_overrides)
        composed = self.compose_with_folders(job, self.overrides)
        if composed.run_dir is not None and composed.config.get("debug") is not None:
            composed = replace(composed, run_dir=debug_folder(composed.run_dir))
        return composed.with_overrides((*composed.overrides, *self.search_path))

    def compose_with_folders(self, job: Job, lines: Job) -> Composed:
        """Return the configuration of `lines`: the overrides of a job and those of the sweep, whose
        folders may refer to values of the job. Raises ConfigError.
        """
        try:
            composed = self.compose(job)
            if self._base(self.choices(job)).folders_are_fixed:
                return composed.with_overrides(lines)
        except ConfigError:
            pass  # the composition of all overrides explains it
        return self._compose_with_hydra(lines, lines)

    def _compose_with_hydra(self, lines: Job, job: Job) -> Composed:
        """Return the configuration that Hydra composes of all these overrides."""
        tree = compose_tree([self._check(line) for line in lines], self.folders)
        return resolve_tree(tree, job, self.folders)

    def _check(self, line: str) -> Override:
        if (checked := self._checked.get(line)) is not None:
            return checked
        (override,) = parsed = parse_overrides([line])
        # whether a number may be set depends on its key alone, but for the choices of a group
        is_number = type(override.value()) in (int, float) and override.key_or_group not in GROUPS
        kind = line.partition("=")[0]
        if not is_number or kind not in self._keys_of_numbers:
            check_overrides(parsed, self.folders, multirun=False)
        if is_number:
            self._keys_of_numbers.add(kind)
        self._checked[line] = override
        return override

    def _base(self, choices: Job) -> _Base:
        if choices not in self._bases:
            lines = (*choices, *self.fixed)
            tree = self._compose_base([self._check(line) for line in lines])
            # a required key, such as the path of a file, may be among the other overrides
            composed = resolve_tree(tree, lines, self.folders, complete=False)
            plain = {key: self._shared(node) for key, node in plain_tree(tree).items()}
            self._bases[choices] = _Base(composed, plain)
        return self._bases[choices]

    def _compose_base(self, overrides: Sequence[Override]) -> DictConfig:
        """Return Hydra's tree. Names and folders differ between runs: they are set in the cached
        composition of the other overrides, which takes a tenth of the time.
        """
        values = [override for override in overrides if _is_single_value(override)]
        if values:
            others = [override for override in overrides if override not in values]
            tree = compose_choices(others, self.folders)
            if all(_update(tree, override) for override in values):
                return tree
        return compose_choices(overrides, self.folders)


def _update(tree: DictConfig, override: Override) -> bool:
    """Set a single value in a composed tree, as Hydra does; return whether that was possible."""
    from omegaconf import OmegaConf, read_write
    from omegaconf.errors import OmegaConfBaseException

    path = "sweep.seeds" if override.key_or_group == "seeds" else override.key_or_group
    if OmegaConf.is_config(OmegaConf.select(tree, path, throw_on_missing=False)):
        return False
    try:
        with read_write(tree.hydra):
            OmegaConf.update(tree, path, override.value())
    except OmegaConfBaseException:
        return False
    return True


def _is_single_value(override: Override) -> bool:
    """Return whether the override sets a name, a folder, or a number of a sweep, which no choice
    of a group depends on.
    """
    key = override.key_or_group
    known = key in ("name", "hydra.run.dir", "hydra.sweep.dir") or is_sweep_key(override)
    special = override.is_add() or override.is_force_add() or override.is_delete()
    return known and not special and isinstance(override.value(), (str, int, float, bool))


def _applies_to_sweep(override: Override) -> bool:
    return override.is_hydra_override() or is_sweep_key(override)


def _set(tree: dict[str, Any], override: Override) -> bool:
    """Set the value of an override in a plain tree whose nodes are shared with others.

    Returns False for an override that only Hydra can apply or explain.
    """
    *path, key = override.key_or_group.split(".")
    for name in path:
        if not isinstance(tree.get(name), dict):
            return False
        tree[name] = dict(tree[name])
        tree = tree[name]
    value, old = override.value(), tree.get(key)
    if isinstance(value, dict) and isinstance(old, dict):
        value = {**old, **value}
    elif isinstance(old, dict):
        return False
    is_special = override.is_add() or override.is_delete() or override.package is not None
    is_known = key in tree or override.is_force_add() or extends_mapping(override)
    tree[key] = value
    return is_known and not is_special and "[" not in override.key_or_group
