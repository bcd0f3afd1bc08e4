"""Violations that exist today: each rule reports exactly those, and the lists may only shrink."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from source_tree import Offender

FILE = Path(__file__).with_name("known_violations.yaml")
# The number of entries of each list. Lower a number when a list shrinks; never raise one.
COUNTS = {
    "forbidden_imports": 0,
    "package_cycles": 0,
    "module_cycles": 0,
    "shadowed_submodules": 0,
    "private_imports": 0,
    "oversized": 0,
    "wall_time_assertions": 0,
    "shapes": 6,
}


@functools.cache
def known_violations() -> dict[str, list[str]]:
    lists = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {rule: entries or [] for rule, entries in lists.items()}


def assert_only_known(
    rule: str, offenders: Iterable[Offender], more_problems: Sequence[str] = ()
) -> None:
    known = known_violations()[rule]
    problems = [*more_problems, *differences(list(offenders), known, COUNTS[rule])]
    assert not problems, f"{rule}:\n  " + "\n  ".join(problems)


def differences(offenders: list[Offender], known: list[str], count: int) -> list[str]:
    """How the violations differ from the known ones, and the known ones from their number."""
    problems = [f"new: {offender}" for offender in offenders if offender.key not in known]
    fixed = sorted(set(known) - {offender.key for offender in offenders})
    problems += [f"fixed, so remove it from {FILE.name}: {key}" for key in fixed]
    if len(set(known)) != len(known):
        problems.append(f"{FILE.name} lists an entry twice")
    if len(known) > count:
        problems.append(f"{FILE.name} lists {len(known)}, but the list of {count} may only shrink")
    elif len(known) < count:
        problems.append(f"the list shrank, so lower its number in known.py to {len(known)}")
    return problems
