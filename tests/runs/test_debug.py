"""debug=overfit and debug=fast: runs that try a configuration, apart from the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mlplab
from mlplab.cli import main
from mlplab.config.stored import settings_from_overrides
from mlplab.runs.run_index import entries, summary_of
from mlplab.training import prepare_members

QUICK = ["tracking=scalars", "device=cpu"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def printed_folder(output: str) -> Path:
    return Path(output.splitlines()[-1])


def test_what_can_learn_ten_rows(capfd):
    heavy = ["model.dropout=0.5", "training.l2=10", "optimizer.weight_decay=1"]
    assert main(["train", "experiment=xor_mlp", "debug=overfit", *heavy, *QUICK]) == 0
    output = capfd.readouterr().out
    assert "debug=overfit: yes, the network learns 10 rows, by step" in output
    folder = printed_folder(output)
    assert folder.parts[:2] == ("outputs", "debug")
    summary = summary_of(folder)
    assert (summary["debug"], summary["learned"]) == ("overfit", True)
    assert entries(Path("outputs")) == []
    assert [entry.folder for entry in entries(Path("outputs/debug"))] == [folder]
    assert main(["rerun", str(folder), "--check"]) == 0
    assert len(entries(Path("outputs/debug"))) == 2


def test_what_cannot(capfd):
    tiny = ["dataset=diabetes", "model.hidden=[]", "optimizer.lr=1e-9"]
    assert main(["train", *tiny, "debug=overfit", *QUICK]) == 1
    output = capfd.readouterr().out
    assert main(["rerun", str(printed_folder(output))]) == 1
    assert "no, the network does not learn 10 rows in 2,000 steps" in output
    assert "find-lr" in output
    assert "data_report.md" not in output


def test_rows_that_contradict_each_other_are_named(capfd):
    lines = ["x,label"] + [f"{i % 2},{'ab'[i // 6]}" for i in range(12)]
    Path("table.csv").write_text("\n".join(lines) + "\n")
    table = ["dataset=file", "dataset.path=table.csv", "dataset.target=label", "dataset.val=0"]
    main(["train", *table, "dataset.test=0", "debug=overfit", *QUICK])
    assert "equal another row but for the target" in capfd.readouterr().out


def test_the_rows_have_all_classes():
    settings = settings_from_overrides(["dataset=digits", "debug=overfit"])
    prepared = prepare_members([settings])[0].prepared
    np.testing.assert_array_equal(np.unique(prepared.train.y), np.arange(10))
    assert (prepared.val, prepared.test) == (None, None)


def test_one_batch_of_each_split(capfd):
    run = mlplab.run(["dataset=diabetes", "debug=fast", "training.batch_size=7", *QUICK])
    assert run.summary["steps"] == 1
    assert run.folder.parts[:2] == ("outputs", "debug")
    prepared = prepare_members([run.settings])[0].prepared
    assert {len(getattr(prepared, name)) for name in ("train", "val", "test")} == {7}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "seeds=2"],
        ["-m", "optimizer.lr=0.1,0.2"],
        ["validation=kfold"],
        ["-m", "sweep.trials=2", "optimizer.lr=interval(0.01,0.1)"],
    ],
)
def test_a_sweep_is_refused(arguments, capfd):
    assert main(["train", "experiment=xor_mlp", "debug=fast", *arguments]) == 2
    assert "one configuration" in capfd.readouterr().err
    assert not Path("outputs").exists()


def test_an_unknown_mode_is_refused(capfd):
    assert main(["train", "debug=overift"]) == 2
    assert "overfit, fast" in capfd.readouterr().err
