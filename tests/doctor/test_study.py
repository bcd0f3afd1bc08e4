"""The study of docs/doctor.md in small: healthy and ill runs of the calibration."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from harness import FULL, size

from mlplab.doctor import TITLES

SCRIPTS = Path(__file__).parents[2] / "scripts" / "doctor"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import study

    yield study
    for name in ("study", "cases", "pools", "tables"):
        sys.modules.pop(name, None)


def run_study(study, pool, ailment, count):
    """The lines of the first cases that are what they were made to be."""
    lines, number = [], 0
    while len(lines) < count and number < 40 * count:
        lines += [
            one for one in study.study(pool, ailment, range(number, number + 6)) if one["true"]
        ]
        number += 6
    return lines[:count]


@pytest.mark.slow
@pytest.mark.campaign("lecture", small=True)
@pytest.mark.parametrize("ailment", ["healthy", *TITLES] if FULL else ["healthy", "lr_too_high"])
def test_runs_are_diagnosed_as_what_they_were_made_to_be(ailment, study):
    lines = run_study(study, "calibration", ailment, size(3, 30))
    names = [line["findings"][0] if line["findings"] else "healthy" for line in lines]
    assert names.count(ailment) >= 0.75 * len(lines)
