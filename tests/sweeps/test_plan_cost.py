"""The work of planning a sweep grows linearly with its jobs; what they agree in is done once."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from mlplab.config import builder, composition
from mlplab.config.composer import Composer
from mlplab.sweeps.plan.plan_file import (
    plan_text,
    ranges_text,
    read_plan,
    read_ranges,
    write_plan,
)
from mlplab.sweeps.run_sweep import SweepRequest
from mlplab.training import DataCache, prepare_members

QUICK = ["experiment=xor_mlp", "training.epochs=1"]


def write_and_read(overrides):
    request = SweepRequest(Composer([*QUICK, *overrides]))
    written = request.write_plan(Path("sweep"))
    (Path("sweep") / "plan.yaml").rename("plan.yaml")
    write_plan(Path(), written)
    return written, read_plan(Path())


def count_calls(function):
    """Return the number of calls of Python functions and of C functions that a call makes."""
    calls = Counter()

    def count(frame, event, argument):
        calls[event] += 1

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls["call"] + calls["c_call"]


SWEPT = {
    "rates and seeds": ["optimizer.lr=0.01,0.02,0.03", "seed=range({})"],
    "rates": ["optimizer.lr=range(0.5,{},0.5)"],
    "structures": ["model.hidden=[3],[4,{{units:3,dropout:0.1}}]", "seed=range({})"],
}


@pytest.mark.parametrize("swept", SWEPT)
def test_the_calls_grow_at_most_linearly(swept):
    def plan(number):
        write_and_read([override.format(number) for override in SWEPT[swept]])

    calls = []
    for number in (5, 20, 80):
        with pytest.MonkeyPatch.context() as patch:
            folder = Path(str(number))
            folder.mkdir()
            patch.chdir(folder)
            plan(2)  # what the process imports and caches once
            Path("plan.yaml").unlink()
            calls.append(count_calls(lambda number=number: plan(number)))
    assert calls[2] - calls[1] <= 1.1 * 4 * (calls[1] - calls[0]), calls


def test_what_jobs_agree_in_is_composed_and_built_once(monkeypatch):
    made = Counter()

    def counted(owner, name):
        real = getattr(owner, name)

        def count(*arguments, **keywords):
            made[name] += 1
            return real(*arguments, **keywords)

        monkeypatch.setattr(owner, name, count)

    counted(composition, "hydra_compose")
    counted(builder, "build_component")
    counted(builder.cross_checks, "check")
    work = []
    for seeds in (2, 20):
        made.clear()
        overrides = ["optimizer.lr=0.1,0.2", "activation=tanh,relu", f"seed=range({seeds})"]
        SweepRequest(Composer([*QUICK, *overrides]))
        work.append(dict(made))
    assert work[0] == work[1]
    assert work[0]["check"] == 4
    assert work[0]["hydra_compose"] <= 2


def test_jobs_share_what_they_agree_in():
    for plan in write_and_read(["optimizer.lr=0.1,0.2", "seed=range(3)"]):
        settings = [job.settings for job in plan.jobs]
        assert [one.seed for one in settings] == [0, 1, 2] * 2
        assert len({id(one.optimizer) for one in settings}) == 2
        assert len({id(one.config["optimizer"]) for one in settings}) == 2
        for name in ("dataset", "layers", "loss", "schedule", "training", "tracking"):
            assert len({id(getattr(one, name)) for one in settings}) == 1
        members = prepare_members(settings, DataCache())
        assert len({id(member.settings.loss) for member in members}) == 2  # one for each optimizer
        assert [member.settings.seed for member in members] == [0, 1, 2] * 2


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((), ""),
        ((3,), "3"),
        ((0, 1, 2), "0-2"),
        ((0, 1, 2, 7, 9, 10), "0-2, 7, 9-10"),
        ((5, 3, 2, 4), "5, 3, 2, 4"),
    ],
)
def test_the_numbers_of_a_work_unit_are_ranges(numbers, text):
    assert ranges_text(numbers) == text
    if numbers:
        assert read_ranges(text, range(11)) == numbers


@pytest.mark.parametrize(
    "text", ["", "0-99999999", "3-2", "-1", "1,2", "1 - 2", "0, 0-10", "x", "12", 3, None, ["0"]]
)
def test_other_numbers_are_refused(text):
    with pytest.raises(ValueError, match=r"no list|no range|is not a number"):
        read_ranges(text, range(11))


def test_a_plan_is_plain_yaml_with_a_line_for_each_job():
    import json

    import yaml

    plan, _ = write_and_read(["optimizer.lr=0.1,1e-05", "seed=range(3)", "name='ü,#'"])
    content = yaml.safe_load(plan_text(plan))
    lines = [json.loads(line) for line in content["jobs"].splitlines()]
    assert [line["job"] for line in lines] == list(range(6))
    assert lines[5] == {
        "job": 5,
        "hash": plan.jobs[5].hash,
        "overrides": list(plan.jobs[5].overrides),
        "base": 0,
        "set": {"optimizer": {"lr": 1e-05}, "seed": 2},
    }
    assert content["work_units"] == [{"number": 0, "population": 0, "jobs": "0-5"}]
    assert content["bases"] == [plan.jobs[0].settings.config]
