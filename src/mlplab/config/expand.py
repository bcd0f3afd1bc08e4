"""Expand a command line with several values per key to the overrides of each job."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlplab.config.composer import Composer, Job
from mlplab.config.override_lines import key_of, split
from mlplab.config.overrides import parse_overrides
from mlplab.config.sweep_options import MAX_JOBS, Sweep
from mlplab.config.yaml_render import defaults
from mlplab.errors import ConfigError
from mlplab.validation import KFold

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def expand(composer: Composer) -> list[Job]:
    """Return the overrides of every job; the last key varies fastest. Raises ConfigError.

    The grid of the command line is Hydra's; sweep.* of the composed configuration adds blocks,
    grid, pairs and seeds. Overrides of Hydra and of the node `sweep` are left out of the jobs. Jobs
    with the same overrides are merged.
    """
    has_seeds = any(
        override.key_or_group in ("seeds", "sweep.seeds") for override in composer.parsed
    )
    jobs: dict[Job, None] = {}
    for line in _product(composer.job_overrides):
        base = composer.base(line)
        default = base.config["seed"]
        seed = _first_seed(composer, line, default) if has_seeds else default
        for job in _jobs(composer, line, base.sweep, seed, has_seeds):
            jobs |= dict.fromkeys(folds(job, base.config))
        if len(jobs) > MAX_JOBS:
            raise _too_many(len(jobs))
    return list(jobs)


def _first_seed(composer: Composer, line: Job, default: int | None) -> int | None:
    """Return the first of the seeds: that of the line, or else the default."""
    seeds = (o.value() for o in parse_overrides(line) if o.key_or_group == "seed")
    seed = next(seeds, default)
    if seed is None or isinstance(seed, int):
        return seed
    composed: int | None = composer.compose(line).config["seed"]
    return composed


def _product(overrides: Sequence[Override]) -> list[Job]:
    """Return the grid of the command line in Hydra's order and notation."""
    axes = {override.get_key_element(): _values(override) for override in overrides}
    size = math.prod(map(len, axes.values()))
    if size > MAX_JOBS:
        raise _too_many(size)
    return list(itertools.product(*axes.values()))


def _values(override: Override) -> list[str]:
    """Return one override for each value, at most MAX_JOBS + 1."""
    if not override.is_sweep_override():
        return [override.input_line or ""]
    if not override.is_discrete_sweep():
        raise ConfigError(
            f"`{override.input_line}` is an interval, which is not a list of values to train."
            f" Give values: {override.key_or_group}=0.1,0.2 or"
            f" {override.key_or_group}=range(1,5)."
        )
    values = list(itertools.islice(override.sweep_string_iterator(), MAX_JOBS + 1))
    if not values:
        raise ConfigError(f"`{override.input_line}` has no values, so there is nothing to train.")
    return [f"{override.get_key_element()}={value}" for value in values]


def _jobs(
    composer: Composer, line: Job, sweep: Sweep, seed: int | None, has_seeds: bool
) -> Iterable[Job]:
    """Yield the jobs of one line of the command line's grid."""
    line_keys = set(map(key_of, line))
    grids = (sweep.grid, sweep.zip, *sweep.blocks)
    seeds: list[Job] = [()]
    if (
        sweep.seeds is not None
        and (has_seeds or "seed" not in line_keys)
        and not any("seed" in grid for grid in grids)
    ):
        line = tuple(override for override in line if not override.startswith("seed="))
        seeds = [(f"seed={(seed or 0) + i}",) for i in range(sweep.seeds)]
    pairs = _pairs(
        composer, {key: values for key, values in sweep.zip.items() if key not in line_keys}
    )
    for block in sweep.blocks or [{}]:
        merged = {
            **block,
            **{key: values for key, values in sweep.grid.items() if key not in block},
        }
        axes = [
            _key_overrides(composer, key, values)
            for key, values in merged.items()
            if key not in line_keys
        ]
        size = math.prod([*map(len, axes), len(pairs), len(seeds)])
        if size > MAX_JOBS:
            raise _too_many(size)
        for grid, pair, seed_override in itertools.product(itertools.product(*axes), pairs, seeds):
            yield (*line, *grid, *pair, *seed_override)


def folds(job: Job, config: Mapping[str, object]) -> Iterable[Job]:
    """Return one job per fold if the job is a cross-validation, otherwise the job itself; a packed
    ensemble trains all folds.

    `config` is what the group choices compose.
    """
    node, ensemble = config["validation"], config.get("ensemble")
    validation: dict[str, Any] = dict(node) if isinstance(node, Mapping) else {}
    for override in job:
        key, value = split(override)
        if key == "validation" and value != validation.get("name"):
            validation = {"name": value, **(defaults(KFold) if value == "kfold" else {})}
        elif key.startswith("validation."):
            validation[key.partition(".")[2]] = value
        elif key == "ensemble":
            ensemble = None if value == "null" else value
    is_kfold = validation.get("name") == "kfold" and validation.get("fold") in (None, "null")
    if not is_kfold or ensemble is not None:
        return [job]
    try:
        num_networks = KFold(int(validation["folds"]), int(validation["repeats"])).num_networks
    except (ValueError, TypeError, KeyError):
        return [job]  # composing the job raises the error message
    line = tuple(override for override in job if not override.startswith("validation.fold="))
    return [(*line, f"validation.fold={fold}") for fold in range(num_networks)]


def _pairs(composer: Composer, lists: Mapping[str, object]) -> list[Job]:
    """Return pairs such as [("a=1", "b=x"), ("a=2", "b=y")]; one empty pair without lists."""
    columns = {key: _key_overrides(composer, key, values) for key, values in lists.items()}
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ConfigError(
            "`sweep.zip` pairs lists of one length, but the lengths are"
            f" {', '.join(f'{key}: {length}' for key, length in lengths.items())}."
        )
    return list(zip(*columns.values(), strict=True)) if columns else [()]


def _key_overrides(composer: Composer, key: str, values: object) -> list[str]:
    """Return one override per value of a YAML list or of a string in Hydra's sweep syntax."""
    if isinstance(values, str):
        return [line for (line,) in _product(composer.parse([f"{key}={values}"]))]
    assert isinstance(values, (list, tuple))
    return [f"{key}={override_value(value)}" for value in values]


def override_value(value: object) -> str:
    """Return a YAML value as text that Hydra's parser reads back as the same value and type."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(override_value, value)) + "]"
    if isinstance(value, Mapping):
        return (
            "{"
            + ",".join(
                f"{override_value(key)}:{override_value(item)}" for key, item in value.items()
            )
            + "}"
        )
    return _quoted(str(value))


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    """Return the text without quotes if Hydra reads it back unchanged, otherwise quoted.

    A backslash escapes only a quote and the backslashes directly before a quote.
    """
    if (
        re.fullmatch(r"[\w./-]+", text, re.ASCII)
        and parse_overrides([f"x={text}"])[0].value() == text
    ):
        return text
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", escaped) + "'"


def _too_many(number: int) -> ConfigError:
    return ConfigError(
        f"This sweep has at least {number:,} jobs, but the limit is {MAX_JOBS:,}. Split it into"
        " several sweeps."
    )
