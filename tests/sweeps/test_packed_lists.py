"""Lists of packed jobs: every column has the values that it has for jobs in folders."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

import mlplab
from mlplab.cli import main
from mlplab.errors import LinkError
from mlplab.runs.packs import Packs
from mlplab.runs.plan_text import PlannedConfigs
from mlplab.sweeps.open_job import open_job
from mlplab.sweeps.plan import tracked
from mlplab.sweeps.plan.plan_file import read_plan, write_plan

SMALL = [
    *("experiment=xor_mlp", "dataset.num_samples=60", "training.epochs=3", "device=cpu"),
    "training.batch_size=16",
]
CHANGING = ["folder", "sweep", "time", "seconds", "cpu_seconds"]
"""Columns that differ between two trainings of a sweep."""


def in_folder(sweep):
    return f"hydra.sweep.dir={sweep}"


@pytest.fixture
def both(monkeypatch):
    """Returns a function that does something to two sweeps, one in folders and one packed."""

    def apply(function):
        for name, limit in (("folders", 10**9), ("packed", 0)):
            with monkeypatch.context() as patched:
                patched.setattr(tracked, "MAX_JOB_FOLDERS", limit)
                function(Path(name))

    return apply


def listed(name, capsys, *conditions):
    """The jobs of a sweep as `list_runs` and `mlplab runs --json` list them, by number."""
    frame = mlplab.list_runs(name, conditions).drop(columns=CHANGING).sort_values("job")
    more = [argument for condition in conditions for argument in ("--where", condition)]
    capsys.readouterr()
    assert main(["runs", name, "--jobs", "--json", *more]) == 0
    rows = [row for row in json.loads(capsys.readouterr().out) if row["kind"] == "job"]
    table = pd.DataFrame(rows)
    if rows:
        table = table.drop(columns=CHANGING).sort_values("job").reset_index(drop=True)
    return frame.reset_index(drop=True), table


def assert_equal_lists(capsys, *conditions):
    packed, folders = (listed(name, capsys, *conditions) for name in ("packed", "folders"))
    assert Path("packed/packs").is_dir()
    assert not Path("folders/packs").exists()
    for one, other in zip(packed, folders, strict=True):
        # columns are in the order of the newest run, which is another one
        pd.testing.assert_frame_equal(one, other[list(one)], check_exact=True)
        assert len(one.columns) == len(other.columns)
    return packed[0]


def test_lists_through_failures_and_a_resume(plugin, both, monkeypatch, capsys):
    overrides = [*SMALL, "dataset=broken", "optimizer=sgd", "loss=mse_onehot", "activation=relu"]
    overrides += ["dataset.mood=0,1", "optimizer.lr=0.1,1e30"]
    both(lambda sweep: main(["train", "--plugin", plugin, "-m", *overrides, in_folder(sweep)]))
    table = assert_equal_lists(capsys)
    assert sorted(table["status"]) == ["diverged", "done", "failed", "failed"]
    assert set(table["optimizer.lr"]) == {0.1, 1e30}
    assert len(assert_equal_lists(capsys, "optimizer.lr=0.1", "dataset.mood=0")) == 1

    from mlplab.config import plugins

    cls = plugins._registered["dataset"]["broken"]
    monkeypatch.setattr(cls, "make", lambda self, generator: super(cls, self).make(generator))
    both(lambda sweep: main(["resume", "--plugin", plugin, str(sweep)]))
    assert list(assert_equal_lists(capsys)["status"]) == ["done", "diverged"] * 2


def test_lists_through_extensions(both, capsys):
    """A new key with which all jobs stay, then values with which none does, then the first ones."""
    first = ["optimizer=sgd", "optimizer.lr=0.1,0.2"]
    both(lambda sweep: mlplab.sweep([*SMALL, *first], sweep))
    more = [*first, "optimizer.momentum=0.0,0.5", "model.normalization=none,layer"]
    both(lambda sweep: mlplab.sweep([*SMALL, *more], sweep))
    assert len(assert_equal_lists(capsys)) == 8
    assert len(assert_equal_lists(capsys, "optimizer.momentum=0.5")) == 4
    for _ in range(2):  # removed jobs stay known
        both(lambda sweep: mlplab.sweep([*SMALL, "seed=7"], sweep))
        assert len(read_plan(Path("packed")).removed_jobs) == 8
        assert len(assert_equal_lists(capsys)) == 9
    assert len(assert_equal_lists(capsys, "optimizer.lr=0.2", "optimizer.momentum=0.5")) == 2
    both(lambda sweep: mlplab.sweep([*SMALL, *first], sweep))
    assert len(assert_equal_lists(capsys)) == 9
    assert [job.number for job in read_plan(Path("packed")).jobs] == [0, 1]


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=adam,sgd", "model.hidden=[3],[4,2]"],
        ["experiment=xor_mlp,xor_perceptron", "seed=0,1"],
        ["model.hidden=[3],[4,{units:3,dropout:0.1}]", "training.patience=null,2"],
        ["validation=kfold", "validation.fold=0,1", "seed=0,1"],
        ["optimizer.lr=1e-3,0.01", "name='a b','1e-3'"],
    ],
    ids=["groups", "experiments", "lists", "folds", "texts"],
)
def test_lists_of_structures(overrides, both, capsys):
    both(lambda sweep: mlplab.sweep([*SMALL, *overrides], sweep))
    assert len(assert_equal_lists(capsys)) == 4


# Damaged sweeps.


def statuses(capsys, *arguments):
    assert main(["runs", ".", "--jobs", "--json", *arguments]) == 0
    output = capsys.readouterr()
    rows = json.loads(output.out)
    return [row["status"] for row in rows if row["kind"] == "job"], output.err


def split(sweep):
    """Divide the only pack of a sweep into two, of one job and of three."""
    packs = Packs(sweep)
    packs.refresh()
    records = list(packs.records(packs.numbers))
    [path] = (sweep / "packs").iterdir()
    path.unlink()
    packs.write(records[:1], "a")
    packs.write(records[1:], "b")
    return sorted((sweep / "packs").iterdir())


def test_a_damaged_pack_hides_only_its_jobs(sweep, capsys):
    first, _ = split(sweep)
    assert statuses(capsys) == (["done"] * 4, "")
    first.write_bytes(first.read_bytes()[:-1])
    listed_statuses, error = statuses(capsys)
    assert listed_statuses == ["done"] * 3
    assert f"skipped 1 with a damaged summary.json or pack, the first is {first}" in error
    assert len(mlplab.list_runs(".")) == 3


@pytest.mark.parametrize("what", ["file", "folder", "plan"])
def test_links_are_not_followed(what, sweep, tmp_path, capsys):
    path = {"file": split(sweep)[0], "folder": sweep / "packs", "plan": sweep / "plan.yaml"}[what]
    shutil.move(path, tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    listed_statuses, error = statuses(capsys)
    assert len(listed_statuses) == {"file": 3, "folder": 0, "plan": 4}[what]
    assert (str(path) in error) is (what != "plan")
    number = 3 if what == "file" else 0
    assert statuses(capsys, "--where", "optimizer=adam")[0] == ["done"] * number
    if what != "plan":
        with pytest.raises(LinkError):
            open_job(sweep, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.replace("format: mlplab-plan-2", "format: mlplab-plan-9"),
        lambda text: text[:-5],
        lambda text: text.replace('"base": 0', '"base": 7'),
        lambda text: text.replace('"base": 0', '"base": "x"'),
        lambda text: text.replace('"set": {', '"set": {"a": {"b": 1}, '),
        lambda text: text.replace('"set": {', '"set": {"optimizer": 1, '),
        lambda text: text.replace('"overrides": [', '"overrides": [[[]], 3, '),
        lambda text: text.replace('"job": 1', '"job": []'),
        lambda text: text + "  " + "[" * 10_000 + "\n",
        lambda text: text + "".join("  " + "[" * 60 + "\n" for _ in range(1000)),
        lambda text: text + "  3\n",
        lambda text: text.replace("bases:", "bases: &a [*a]\nother:"),
        lambda text: text.replace("bases:", f"bases:\n- {{a: 0x{'f' * 5000}}}\nother:"),
    ],
)
def test_a_hostile_plan_breaks_no_list(change, sweep, capsys):
    path = sweep / "plan.yaml"
    path.write_text(change(path.read_text()))
    assert statuses(capsys)[0] == ["done"] * 4
    for arguments in (["--where", "optimizer.lr>0"], ["--csv"]):
        assert main(["runs", ".", "--jobs", *arguments]) == 0
    assert len(mlplab.list_runs(".")) == 4


def test_a_plan_that_is_no_file_is_not_opened(sweep):
    (sweep / "plan.yaml").unlink()
    os.mkfifo(sweep / "plan.yaml")
    assert mlplab.list_runs(".", ["optimizer=adam"]).empty
    assert not list(PlannedConfigs("nothing").find(0))


def test_a_list_without_jobs_reads_no_pack(sweep, monkeypatch, capsys):
    reads = []
    monkeypatch.setattr(Packs, "_add", lambda packs, name: reads.append(name))
    assert main(["runs", "."]) == 0
    assert "sweep, 4 jobs" in capsys.readouterr().out
    assert not reads


def test_a_plan_is_read_back_as_it_was_written(sweep):
    plan = read_plan(sweep)
    text = (sweep / "plan.yaml").read_text()
    write_plan(sweep, plan)
    assert (sweep / "plan.yaml").read_text() == text


def test_jobs_are_compared_and_not_removed(sweep, capsys):
    assert main(["compare", "sweep:0", "sweep:1"]) == 0
    assert "val/accuracy" in capsys.readouterr().out
    assert main(["compare", "sweep:0", "sweep", "--csv"]) == 0
    assert main(["compare", "sweep:0", "sweep:9"]) == 2
    assert "has no job 9: its jobs are 0 to 3" in capsys.readouterr().err
    assert main(["runs", "remove", "sweep:0", "--yes"]) == 2
    assert "sweep:0 is a job of a sweep" in capsys.readouterr().err
    assert Path("sweep/jobs/0").is_dir()
