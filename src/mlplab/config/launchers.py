"""Launchers and sweepers of other packages: error messages for a missing package or unknown key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlplab.config.suggestions import did_you_mean, listing
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

PACKAGES = {
    "hydra/launcher": {
        "joblib": "hydra-joblib-launcher",
        "submitit_local": "hydra-submitit-launcher",
        "submitit_slurm": "hydra-submitit-launcher",
        "ray": "hydra-ray-launcher",
        "ray_aws": "hydra-ray-launcher",
        "rq": "hydra-rq-launcher",
    },
    "hydra/sweeper": {
        "optuna": "hydra-optuna-sweeper",
        "ax": "hydra-ax-sweeper",
        "nevergrad": "hydra-nevergrad-sweeper",
    },
}
"""The package of each choice that Hydra's authors publish."""

ALTERNATIVES = {
    "joblib": "sweep.workers=2 trains with several processes",
    "submitit_local": "sweep.workers=2 trains with several processes",
    "submitit_slurm": "sweep.workers=8 sweep.engine=slurm trains on a Slurm cluster",
    "ray": "sweep.workers=8 sweep.engine=ray trains on Ray",
    "optuna": "sweep.trials=64 searches with a current Optuna, which that package does not support",
}
"""The equivalents in mlplab, which train whole populations instead of single jobs."""


def missing_package(group: str, name: str, installed: Sequence[str]) -> ConfigError:
    """Return the error for the launcher or sweeper `name`, which is not installed."""
    kind = group.rpartition("/")[2]
    packages = PACKAGES.get(group, {})
    if name in packages:
        alternative = f" Without it: {ALTERNATIVES[name]}." if name in ALTERNATIVES else ""
        return ConfigError(
            f"`{group}={name}` is the {kind} of {packages[name]}, which is not installed: pip"
            f" install {packages[name]}.{alternative} Installed: {listing(installed)}."
        )
    return ConfigError(
        f"There is no {group} `{name}`."
        f" {did_you_mean(name, [*installed, *packages], f'`{group}={{}}`')}Installed:"
        f" {listing(installed)}; available as packages of Hydra:"
        f" {listing([other for other in packages if other not in installed])}."
    )


def unknown_key(override: Override, hydra: Mapping[str, Any]) -> ConfigError | None:
    """Return the error for a key that the chosen launcher or sweeper does not have.

    None if the override is for something else, or if the key exists.
    """
    _, _, hydra_key = override.key_or_group.partition(".")
    kind, _, node_key = hydra_key.partition(".")
    if (
        not node_key
        or kind not in ("launcher", "sweeper")
        or override.is_add()
        or override.is_force_add()
        or not isinstance(hydra.get(kind), Mapping)
    ):
        return None
    node, path = hydra[kind], f"hydra.{kind}"
    for key in node_key.split("."):
        if not isinstance(node, Mapping) or key not in node:
            keys = (
                [str(name) for name in node if name != "_target_"]
                if isinstance(node, Mapping)
                else []
            )
            hint = did_you_mean(
                key, keys, f"`{path}.{{}}={(override.input_line or '').partition('=')[2]}`"
            )
            choice = hydra["runtime"]["choices"].get(f"hydra/{kind}")
            return ConfigError(
                f"`{override.input_line}`: `{path}` has no key `{key}` with hydra/{kind}={choice}."
                f" {hint}It has {listing(keys, empty='no keys')}. Choose another {kind} with"
                f" hydra/{kind}=NAME, or add a further key that its package accepts with a plus."
            )
        node, path = node[key], f"{path}.{key}"
    return None
