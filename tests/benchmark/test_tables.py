"""The machinery of scripts/benchmark/tables.py: the list, the splits, resuming, and the report."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARK = Path(__file__).parents[2] / "scripts" / "benchmark"


@pytest.fixture
def scripts(monkeypatch):
    """The modules of the benchmark: its list, methods, report and command."""
    monkeypatch.syspath_prepend(str(BENCHMARK))
    import table_list
    import table_methods
    import table_report
    import tables

    yield Namespace(list=table_list, methods=table_methods, report=table_report, command=tables)
    for name in ("table_list", "table_methods", "table_report", "tables"):
        sys.modules.pop(name, None)


@pytest.fixture
def toy(scripts, monkeypatch):
    """Two tables in memory, one of them held back, and a method that predicts a constant."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=90), "b": ["u", None, "v"] * 30})
    frames = {
        "values": frame.assign(y=rng.normal(size=90)),
        "classes": frame.assign(y=["p", "q", "r"] * 30),
    }
    monkeypatch.setitem(scripts.list.READERS, "toy", lambda name: frames[name])
    listed = {
        "values": scripts.list.Table("values", "toy:values", "y", "regression", "development"),
        "classes": scripts.list.Table("classes", "toy:classes", "y", "classification", "held_back"),
    }
    monkeypatch.setattr(scripts.command, "tables", lambda: listed)
    calls = []

    def predict(split, config):
        calls.append((split.table.name, split.seed))
        rows = len(split.y("test"))
        shape = (rows, len(split.classes)) if split.table.classifies else rows
        return np.full(shape, config["value"])

    method = scripts.methods.Method
    monkeypatch.setattr(
        scripts.command,
        "METHODS",
        {
            "one": method(predict, ("numpy",), {"value": 1.0}),
            "half": method(predict, ("numpy",), {"value": 0.5}),
            "ours": method(predict, ("numpy",), {"value": 1.0}, is_ours=True),
        },
    )
    return Namespace(calls=calls, tables=listed)


def arguments(folder, half="development", methods=("one",), seeds=2, final=False):
    return Namespace(
        results=folder, half=half, methods=list(methods), tables=None, seeds=seeds, final=final
    )


def test_halves_are_equal_and_fixed(scripts):
    halves = {name: table.half for name, table in scripts.list.tables().items()}
    for task in ("classification", "regression"):
        of_task = [t for t in scripts.list.tables().values() if t.task == task]
        assert sorted(t.half for t in of_task if t.half != "small") == sorted(
            ["development", "held_back"] * 6
        )
    held_back = "ames attrition caravan cells college computers diabetes hitters hpc monica"
    assert sorted(n for n in halves if halves[n] == "held_back") == sorted(
        [*held_back.split(), "sacramento", "shuttle"]
    )


def test_splits_partition_the_rows_by_seed(scripts, toy):
    table = toy.tables["classes"]
    target = table.read()["y"]
    first = scripts.list.split_of_rows(table, target, 0)
    assert (first == scripts.list.split_of_rows(table, target, 0)).all()
    assert (first != scripts.list.split_of_rows(table, target, 1)).any()
    assert pd.Series(first).value_counts().to_dict() == {"train": 57, "test": 18, "val": 15}
    assert target[first == "test"].value_counts().tolist() == [6, 6, 6]


def test_every_row_is_read_by_every_method_in_the_same_order(scripts, toy):
    table = toy.tables["classes"]
    frame = table.read()
    split = scripts.methods.Split(table, frame, scripts.list.split_of_rows(table, frame["y"], 0), 0)
    for read in (scripts.methods._with_text_categories, scripts.methods._typed):
        x = read(split, "train", "val")
        assert x.index.equals(split.rows("train", "val").index)
        assert not x["b"].isna().any()
    assert split.classes.tolist() == ["p", "q", "r"]
    assert (split.classes[split.y("test")] == split.rows("test")["y"]).all()


def test_a_killed_run_continues(scripts, toy, tmp_path):
    scripts.command.run(arguments(tmp_path))
    assert toy.calls == [("values", 0), ("values", 1)]
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text()[:-40])  # killed within the last line
    scripts.command.run(arguments(tmp_path))
    assert toy.calls[2:] == [("values", 1)]
    scripts.command.run(arguments(tmp_path))
    assert len(toy.calls) == 3
    lines = list(scripts.command.lines(tmp_path))
    assert [line["seed"] for line in lines] == [0, 1]
    losses = np.load(tmp_path / "losses" / lines[0]["losses"])
    assert lines[0]["scores"]["rmse"] == pytest.approx(losses.mean() ** 0.5, rel=1e-6)


def test_another_configuration_is_another_result(scripts, toy, tmp_path):
    scripts.command.run(arguments(tmp_path, methods=("one", "half"), seeds=1))
    digests = {line["digest"] for line in scripts.command.lines(tmp_path)}
    assert len(digests) == 2


def test_held_back_tables_are_refused_without_final(scripts, toy, tmp_path):
    with pytest.raises(SystemExit, match="one final measurement"):
        scripts.command.run(arguments(tmp_path, half="held_back", methods=("one", "ours")))
    assert not toy.calls
    scripts.command.run(arguments(tmp_path, half="held_back", seeds=1))
    (line,) = scripts.command.lines(tmp_path)
    assert line["scores"]["log_loss"] == pytest.approx(np.log(3))


def test_paired_errors_are_those_of_rows_or_of_seeds(scripts):
    difference = scripts.report.paired_difference
    a, b = [np.array([1.0, 3, 2, 4])], [np.array([0.0, 1, 2, 1])]
    mean, error = difference(a, b)  # differences 1, 2, 0, 3
    assert mean == 1.5
    assert error == pytest.approx((5 / 3 / 4) ** 0.5)
    far = [a[0], a[0] + 8]  # the same rows, but the second seed is 8 worse
    mean, error = difference(far, b * 2)
    assert mean == 5.5
    assert error == pytest.approx(4)


def test_ranks_share_ties_and_skip_incomplete_tables(scripts):
    ranks = scripts.report.mean_ranks(
        {"a": {"t": 1.0, "u": 2.0, "v": 0.0}, "b": {"t": 1.0, "u": 1.0}, "c": {"t": 3.0, "u": 5.0}}
    )
    assert ranks == {"a": 1.75, "b": 1.25, "c": 3.0}


def test_report_counts_only_seeds_that_all_methods_have(scripts, toy, tmp_path):
    scripts.command.run(arguments(tmp_path, methods=("one",), seeds=2))
    scripts.command.run(arguments(tmp_path, methods=("half",), seeds=1))
    lines = list(scripts.command.lines(tmp_path))
    folder = tmp_path / "losses"
    text = scripts.report.report(lines, folder, ["values", "classes"], ["one", "half"])
    scores = {line["method"]: line["scores"]["rmse"] for line in lines if line["seed"] == 0}
    assert f"| values | 90 | 1 | rmse | {scores['one']:.4g} | **{scores['half']:.4g}** |" in text
    assert "Not measured with all methods: classes." in text
    assert "| half | 1.00 |" in text


def test_every_installed_table_can_be_read(scripts):
    read = []
    for table in scripts.list.tables().values():
        try:
            frame = table.read()
        except SystemExit:
            continue
        smallest = 0 if table.half == "small" else 200
        assert smallest < len(frame) <= 10_000, table.name
        assert frame.columns[-1] == table.target
        assert not set(table.ignore) & set(frame.columns)
        read.append(table.name)
    assert "diabetes" in read


def test_lines_are_json_without_digits_that_json_lacks(scripts, toy, tmp_path):
    scripts.command.run(arguments(tmp_path, seeds=1))
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["versions"].keys() == {"numpy"}
    assert "NaN" not in line
