"""plan.yaml of a sweep as text: readable YAML, and its jobs as JSON, one line each, in one block of
text at the end of the file. A job is stored as its changes to one of a few complete configurations
(bases).

YAML reads the block as a text, and its lines are read hundreds of times faster than YAML reads
mappings. What the values mean is known to `sweeps.plan`; lists of runs need configurations only.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mlplab.io.files import MAX_BYTES, parse_json_lines, parse_yaml
from mlplab.runs.flat_config import flatten, keys_of, of_user
from mlplab.runs.stored_config import StoredConfig

FORMAT = "mlplab-plan-2"
NAME = "plan.yaml"
_MAX_LISTED_HEAD = 1 << 22
"""Bytes before the jobs that are read for a list: YAML takes seconds for each MiB."""
_JOBS = "\njobs: |\n"
"""What precedes the lines of the jobs, which are indented by two spaces."""


def jobs_block(lines: Sequence[str]) -> str:
    """Return the end of the file."""
    return "".join([_JOBS[1:], *(f"  {line}\n" for line in lines)])


def job_line(
    number: int,
    digest: str,
    overrides: Sequence[str],
    base: int,
    changes: str,
    removed: bool = False,
) -> str:
    """Return the line of a job: its configuration is that of the base with this number, with
    `changes`, nested mappings as JSON. A removed job is one of an earlier plan.
    """
    more = ', "removed": true' if removed else ""
    return (
        f'{{"job": {number}, "hash": "{digest}", "overrides": {json.dumps(overrides)}, '
        f'"base": {base}, "set": {changes}{more}}}'
    )


def read_tree(path: Path, max_head: int = MAX_BYTES) -> Any:
    """Return the content of the file with its jobs as text. Raises OSError, ValueError for a file
    that is damaged or has more than `max_head` bytes before the jobs, or yaml.YAMLError.
    """
    # a file that another program wrote may lack the block, and YAML reads it as a whole
    head, marker, lines = path.read_text(encoding="utf-8").partition(_JOBS)
    if len(lines) > MAX_BYTES or len(head) > max_head:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    tree = parse_yaml(head + "\n")
    if marker and isinstance(tree, dict):
        tree["jobs"] = lines
    return tree


def read_lines(jobs: str) -> list[dict[str, Any]]:
    """Return what the lines of the jobs say. Raises ValueError or TypeError if they are damaged."""
    lines = parse_json_lines(jobs.encode().splitlines())
    if not all(isinstance(line, dict) for line in lines):
        raise TypeError("a line of its jobs has no keys and values")
    return lines


class PlannedConfigs:
    """The configurations of the jobs of a sweep as its plan has them, also of those that were
    removed from it.

    The plan is read when the first is asked for, without building or checking settings. If it
    cannot be read, or is a link, configurations are empty.
    """

    def __init__(self, sweep: str) -> None:
        self._path = Path(sweep, NAME)

    def find(self, number: int) -> StoredConfig:
        """Return the configuration of a job; empty if the plan does not have it."""
        return self._by_number.get(number) or StoredConfig()

    @property
    def numbers(self) -> list[int]:
        """The numbers of the jobs."""
        return list(self._by_number)

    @cached_property
    def _by_number(self) -> Mapping[int, StoredConfig]:
        with contextlib.suppress(Exception):  # whatever a damaged file raises
            status = os.lstat(self._path)
            if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
                return _configs(read_tree(self._path, _MAX_LISTED_HEAD))
        return {}


def _configs(tree: Mapping[str, Any]) -> dict[int, StoredConfig]:
    """The configurations by the number of the job. Raises if the plan is damaged."""
    if tree["format"] != FORMAT:
        raise ValueError("it is a plan of another version")
    bases = [flatten(base) for base in tree["bases"]]
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # keys that overrides set
    configs = {}
    for line in read_lines(tree["jobs"]):
        base, changes = bases[line["base"]], flatten(line["set"])
        if changes.keys() <= base.keys():
            keys = keys_of(of_user(map(str, line["overrides"])))
            configs[int(line["job"])] = StoredConfig(base, changes, shared.setdefault(keys, keys))
    return configs
