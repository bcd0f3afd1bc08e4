"""What the experiments that mlplab ships choose and set, and the one that applies by itself: a
user's own table is trained as `experiment=table` says, unless another experiment is typed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config.override_lines import key_of
from mlplab.config.overrides import parse_overrides
from mlplab.config.root import COMPONENT_GROUPS, DEFAULTS, GROUPS
from mlplab.config.search_path import choice_files, shipped_folder
from mlplab.io.files import yaml_line

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

TABLE = "table"
"""The experiment for a user's own table."""
USER_TABLES = ("file", "openml", "arrays")
"""The datasets to which it applies by itself."""
_OVERRIDE = "override /"
_ALIKE = ("dataset", "training")
"""Groups whose choices have most keys in common, with one meaning."""


@dataclass(frozen=True)
class Experiment:
    """The file of an experiment: the choices that it makes, and the values that it sets."""

    choices: Mapping[str, str]
    values: DictConfig

    def beside(self, typed: Mapping[str, str]) -> Experiment:
        """Return the experiment for a command line with these choices of groups.

        A value for a group belongs to the choice of the experiment: where another one is typed, as
        in optimizer=sgd, only values of `_ALIKE` groups stay, for keys that the other choice has.
        """
        values = self.values.copy()
        recipe = {**DEFAULTS, **self.choices}
        for group in [group for group in values if group in COMPONENT_GROUPS]:
            name = str(typed.get(group, recipe[group]))
            if group not in _ALIKE and name == recipe[group]:
                continue
            known = list(choice_content(group, name)) if group in _ALIKE else []
            for key in [key for key in values[group] if key not in known]:
                del values[group][key]
        choices = {group: name for group, name in self.choices.items() if group not in typed}
        return replace(self, choices=choices, values=values)


def with_default_experiment(overrides: Sequence[Override]) -> list[Override]:
    """Return the overrides, with experiment=table if they choose a user's own table and say nothing
    about the experiment.
    """
    if any(o.key_or_group == "experiment" for o in overrides):
        return list(overrides)
    if typed_choices(overrides).get("dataset") not in USER_TABLES:
        return list(overrides)
    return [*overrides, *parse_overrides([f"experiment={TABLE}"])]


def is_implied(lines: Iterable[str], choices: Mapping[str, object]) -> bool:
    """Whether the experiment of a composition applied by itself: no line names an experiment."""
    return choices.get("experiment") == TABLE and "experiment" not in map(key_of, lines)


def expanded(overrides: Sequence[Override]) -> list[Override]:
    """Return the overrides with those that experiment=table stands for in its place, typed or not,
    and without experiment=null; unchanged for another experiment.
    """
    from omegaconf import OmegaConf

    complete = [
        o
        for o in with_default_experiment(overrides)
        if o.key_or_group != "experiment" or o.value() is not None
    ]
    typed = typed_choices(complete)
    if typed.pop("experiment", None) != TABLE:
        return complete
    experiment = shipped_experiment(TABLE)
    assert experiment is not None
    experiment = experiment.beside(typed)
    lines = [f"{group}={name}" for group, name in experiment.choices.items()]
    plain: Any = OmegaConf.to_container(experiment.values)
    for group, values in plain.items():
        lines += [f"{group}.{key}={yaml_line(value)}" for key, value in values.items()]
    rest = [o for o in complete if o.key_or_group != "experiment"]
    return [*parse_overrides(lines), *rest]  # the last one of a key counts


def typed_choices(overrides: Sequence[Override]) -> dict[str, str]:
    """Return the choices of groups that the overrides make, the last one of each group."""
    return {
        o.key_or_group: str(o.value())
        for o in overrides
        if o.key_or_group in GROUPS and not o.is_sweep_override() and o.value() is not None
    }


@lru_cache(maxsize=len(GROUPS))
def shipped(group: str) -> Mapping[str, Path]:
    """Return the files of the choices of a group that mlplab ships."""
    return choice_files(group, [shipped_folder()])


def choice_content(group: str, name: str) -> DictConfig:
    """Return the content of the file of a shipped choice; empty for any other one."""
    from omegaconf import OmegaConf

    path = shipped(group).get(name)
    return OmegaConf.create({}) if path is None else _file(path)


@lru_cache(maxsize=1024)
def _file(path: Path) -> DictConfig:
    from omegaconf import DictConfig, OmegaConf

    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return config


@lru_cache(maxsize=1024)
def shipped_experiment(name: str | None) -> Experiment | None:
    """Return what a shipped experiment chooses and sets; nothing without one. None for an
    experiment that is based on another one.
    """
    from omegaconf import OmegaConf

    values = OmegaConf.create({}) if name is None else choice_content("experiment", name).copy()
    defaults = values.pop("defaults", [])
    choices: dict[str, str] = {}
    for entry in defaults:
        ((key, choice),) = entry.items() if OmegaConf.is_dict(entry) else (("", None),)
        group = key.removeprefix(_OVERRIDE)
        if not key.startswith(_OVERRIDE) or choice not in shipped(group):
            return None
        choices[group] = str(choice)
    return Experiment(choices, values)
