"""From a command line with several values a key to the overrides of each job."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config.composition import compose, split_search_path
from mlplab.config.overrides import check_overrides, parse_overrides
from mlplab.config.root import GROUPS
from mlplab.config.search_path import config_folders
from mlplab.config.sweep_options import MAX_JOBS, Sweep
from mlplab.config.yaml_render import defaults
from mlplab.errors import ConfigError
from mlplab.validation import KFold

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

Job = tuple[str, ...]


def expand(overrides: Sequence[str], config_dirs: Iterable[str | Path] = ()) -> list[Job]:
    """The overrides of every job, the last key fastest. Raises ConfigError.

    The command line's part is Hydra's own; sweep.* of the composed configuration adds blocks, grid,
    pairs and seeds. Words of Hydra and of the node `sweep` are no part of a job. Jobs of the same
    words are one.
    """
    typed, dirs = split_search_path(overrides, config_dirs)
    parsed = parse_overrides(typed)
    check_overrides(parsed, config_folders(dirs), multirun=True)
    own = [word for word in parsed if not (word.is_hydra_override() or _is_sweep_word(word))]
    kept = [word.input_line or "" for word in parsed if _is_sweep_word(word)]
    seeds_typed = any(word.key_or_group in ("seeds", "sweep.seeds") for word in parsed)
    nodes: dict[Job, tuple[Sweep, dict[str, Any]]] = {}
    found: dict[Job, None] = {}
    for line in _product(own):
        chosen = tuple(word for word in line if word.lstrip("+").partition("=")[0] in GROUPS)
        if seeds_typed:  # they start at the seed
            chosen += tuple(word for word in line if word.startswith("seed="))
        if chosen not in nodes:
            composed = compose([*chosen, *kept], dirs, complete=False)
            nodes[chosen] = composed.sweep, composed.config
        sweep, config = nodes[chosen]
        for job in _jobs(line, sweep, config["seed"], seeds_typed):
            found |= dict.fromkeys(_folds(job, config["validation"]))
        if len(found) > MAX_JOBS:
            raise _too_many(len(found))
    return list(found)


def _is_sweep_word(word: Override) -> bool:
    return word.key_or_group == "seeds" or word.key_or_group.partition(".")[0] == "sweep"


def _product(parsed: Sequence[Override]) -> list[Job]:
    """The grid of the command line, in Hydra's order and in its words."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    sizes = []
    for word in parsed:
        if not word.is_sweep_override():
            continue
        if not word.is_discrete_sweep():
            raise ConfigError(
                f"`{word.input_line}` is an interval without values to train. Give values:"
                f" {word.key_or_group}=0.1,0.2 or {word.key_or_group}=range(1,5)."
            )
        sizes.append(sum(1 for _ in itertools.islice(word.sweep_string_iterator(), MAX_JOBS + 1)))
        if not sizes[-1]:
            raise ConfigError(f"`{word.input_line}` has no values: nothing would be trained.")
    if math.prod(sizes) > MAX_JOBS:
        raise _too_many(math.prod(sizes))
    lines = {
        word.get_key_element(): word.input_line or ""
        for word in parsed
        if not word.is_sweep_override()
    }
    split = BasicSweeper.split_arguments(list(parsed), None)[0]
    return [tuple(lines.get(word.partition("=")[0], word) for word in line) for line in split]


def _jobs(line: Job, sweep: Sweep, seed: int | None, seeds_typed: bool) -> Iterable[Job]:
    """The jobs that one line of the command line's grid stands for."""
    typed = {word.lstrip("+").partition("=")[0] for word in line}
    grids = (sweep.grid, sweep.zip, *sweep.blocks)
    drawn: list[Job] = [()]
    if (
        sweep.seeds is not None
        and (seeds_typed or "seed" not in typed)
        and not any("seed" in grid for grid in grids)
    ):
        line = tuple(word for word in line if not word.startswith("seed="))
        drawn = [(f"seed={(seed or 0) + i}",) for i in range(sweep.seeds)]
    pairs = _pairs({key: values for key, values in sweep.zip.items() if key not in typed})
    for block in sweep.blocks or [{}]:
        merged = {
            **block,
            **{key: values for key, values in sweep.grid.items() if key not in block},
        }
        axes = [_words(key, values) for key, values in merged.items() if key not in typed]
        size = math.prod([*map(len, axes), len(pairs), len(drawn)])
        if size > MAX_JOBS:
            raise _too_many(size)
        for grid in itertools.product(*axes):
            for pair, own in itertools.product(pairs, drawn):
                yield (*line, *grid, *pair, *own)


def _folds(job: Job, node: object) -> Iterable[Job]:
    """The job once for each fold where it asks for a cross-validation; `node` is what the choice of
    groups says of validation.
    """
    own: dict[str, Any] = dict(node) if isinstance(node, Mapping) else {}
    for word in job:
        key, _, value = word.lstrip("+").partition("=")
        if key == "validation" and value != own.get("name"):
            own = {"name": value, **(defaults(KFold) if value == "kfold" else {})}
        elif key.startswith("validation."):
            own[key.partition(".")[2]] = value
    if own.get("name") != "kfold" or own.get("fold") not in (None, "null"):
        return [job]
    try:
        parts = KFold(int(own["folds"]), int(own["repeats"])).parts
    except (ValueError, TypeError, KeyError):
        return [job]  # composing it says what is wrong
    line = tuple(word for word in job if not word.startswith("validation.fold="))
    return [(*line, f"validation.fold={fold}") for fold in range(parts)]


def _pairs(lists: Mapping[str, Any]) -> list[Job]:
    """[("a=1", "b=x"), ("a=2", "b=y")]; one empty pair where there are no lists."""
    columns = {key: _words(key, values) for key, values in lists.items()}
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ConfigError(
            "`sweep.zip` pairs lists of one length, and these have"
            f" {', '.join(f'{key}: {length}' for key, length in lengths.items())}."
        )
    return list(zip(*columns.values(), strict=True)) if columns else [()]


def _words(key: str, values: object) -> list[str]:
    """One override a value, for a list from YAML or a text in Hydra's syntax."""
    if isinstance(values, str):
        word = parse_overrides([f"{key}={values}"])[0]
        if not word.is_sweep_override():
            return [f"{key}={values}"]
        return [one for line in _product([word]) for one in line]
    assert isinstance(values, (list, tuple))
    return [f"{key}={as_typed(value)}" for value in values]


def as_typed(value: object) -> str:
    """A value from YAML as Hydra's parser reads it back: same value, same type."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(as_typed, value)) + "]"
    if isinstance(value, Mapping):
        return (
            "{" + ",".join(f"{as_typed(key)}:{as_typed(item)}" for key, item in value.items()) + "}"
        )
    return _quoted(str(value))


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    """Bare where Hydra reads it back so, else in quotes. A backslash escapes only before a quote,
    and before the backslashes that lead to one.
    """
    if (
        re.fullmatch(r"[\w./-]+", text, re.ASCII)
        and parse_overrides([f"x={text}"])[0].value() == text
    ):
        return text
    out, backslashes = "", 0
    for sign in text:
        if sign == "\\":
            backslashes += 1
            continue
        out += "\\" * (2 * backslashes + 1 if sign == "'" else backslashes) + sign
        backslashes = 0
    return f"'{out}{chr(92) * 2 * backslashes}'"


def _too_many(number: int) -> ConfigError:
    return ConfigError(
        f"This sweep has {number:,} jobs or more, and the limit is {MAX_JOBS:,}. Cut it into"
        " several."
    )
