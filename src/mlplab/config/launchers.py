"""Hydra's own launchers and sweepers: packages that are installed beside mlplab, and what to say
where one is missing or has no such key.
"""

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
"""The words of the packages that Hydra's authors publish."""

INSTEAD = {
    "joblib": "sweep.workers=2 trains by several processes",
    "submitit_local": "sweep.workers=2 trains by several processes",
    "submitit_slurm": "sweep.workers=8 sweep.engine=slurm trains on a Slurm cluster",
    "ray": "sweep.workers=8 sweep.engine=ray trains on Ray",
    "optuna": "sweep.trials=64 searches, with the Optuna of today, which that package cannot use",
}
"""What mlplab has of its own, which trains populations where these train job by job."""


def missing(group: str, word: str, known: Sequence[str]) -> ConfigError:
    """The launcher or sweeper `word` is not there."""
    kind = group.rpartition("/")[2]
    packages = PACKAGES.get(group, {})
    if word in packages:
        instead = f" Without it: {INSTEAD[word]}." if word in INSTEAD else ""
        return ConfigError(
            f"`{group}={word}` is the {kind} of {packages[word]}, which is not installed: pip"
            f" install {packages[word]}.{instead} Installed: {listing(known)}."
        )
    return ConfigError(
        f"There is no {group} `{word}`."
        f" {did_you_mean(word, [*known, *packages], f'`{group}={{}}`')}Installed: {listing(known)};"
        " with packages of Hydra's:"
        f" {listing([other for other in packages if other not in known])}."
    )


def unknown_key(word: Override, hydra: Mapping[str, Any]) -> ConfigError | None:
    """A typed key that the chosen launcher or sweeper has not; None where the word is another one,
    or fits.
    """
    _, _, rest = word.key_or_group.partition(".")
    kind, _, inside = rest.partition(".")
    if (
        not inside
        or kind not in ("launcher", "sweeper")
        or word.is_add()
        or word.is_force_add()
        or not isinstance(hydra.get(kind), Mapping)
    ):
        return None
    node, path = hydra[kind], f"hydra.{kind}"
    for key in inside.split("."):
        if not isinstance(node, Mapping) or key not in node:
            keys = (
                [str(name) for name in node if name != "_target_"]
                if isinstance(node, Mapping)
                else []
            )
            near = did_you_mean(
                key, keys, f"`{path}.{{}}={(word.input_line or '').partition('=')[2]}`"
            )
            chosen = hydra["runtime"]["choices"].get(f"hydra/{kind}")
            return ConfigError(
                f"`{word.input_line}`: `{path}` has no key `{key}`, with hydra/{kind}={chosen}."
                f" {near}It has {listing(keys, empty='no keys')}. Another {kind} is chosen by"
                f" hydra/{kind}=WORD; a key that its package takes beyond those is added with a"
                " plus."
            )
        node, path = node[key], f"{path}.{key}"
    return None
