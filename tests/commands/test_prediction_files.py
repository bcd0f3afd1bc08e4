"""Prediction and evaluation of files of all formats, from pipes, and to readers that leave."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import cli_process
import numpy as np
import pandas as pd
import pytest

import mlplab
from mlplab.cli import main

COLUMNS = ["x", "code", "age", "city"]


def table(n=120, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=n).round(4)})
    frame["code"] = rng.choice(["00501", "10001", "02134"], n)
    frame["age"] = np.where(rng.random(n) < 0.1, -1, rng.integers(18, 80, n))
    frame["city"] = rng.choice(["서울", "부산", "Rome"], n)
    frame["y"] = np.where((frame["x"] > 0) ^ (frame["city"] == "Rome"), "p", "q")
    return frame


OVERRIDES = [
    *("dataset=file", "dataset.path=table.csv", "dataset.target=y", "dataset.encoding=cp949"),
    *("dataset.na_values={age:[-1]}", "dataset.missing=impute", "experiment=null"),
    *("training.epochs=8", "tracking=summary"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with contextlib.chdir(folder):
        table().to_csv("table.csv", index=False, encoding="cp949")
        mlplab.run(OVERRIDES, "run")
    return folder


@pytest.fixture
def run(trained):
    shutil.copytree(trained, ".", dirs_exist_ok=True)
    return mlplab.load("run")


def predictions(capsys, *arguments):
    capsys.readouterr()
    assert main(["predict", "run", *arguments]) == 0
    return pd.read_csv(io.StringIO(capsys.readouterr().out))


def write_all(frame):
    """Write the frame in each format, and return the names of the files."""
    text = frame.to_csv(index=False)
    Path("a.csv").write_text(text, encoding="cp949")
    Path("b.csv.gz").write_bytes(gzip.compress(text.encode("cp949")))
    with zipfile.ZipFile("c.zip", "w") as archive:
        archive.writestr("c.csv", text.encode("cp949"))
    frame.to_json("d.jsonl", orient="records", lines=True, force_ascii=False)
    names = ["a.csv", "b.csv.gz", "c.zip", "d.jsonl"]
    with contextlib.suppress(ImportError):
        frame.to_excel("e.xlsx", index=False)
        names.append("e.xlsx")
    frame.to_parquet("f.parquet")
    return [*names, "f.parquet"]


def test_a_file_of_each_format_gives_the_same_predictions(run, capsys):
    new = table(40, 1)
    expected = run.predict_proba(new)
    for name in write_all(new):
        predicted = predictions(capsys, name)
        np.testing.assert_allclose(predicted[["P(p)", "P(q)"]], expected, atol=1e-6, err_msg=name)
        assert main(["evaluate", "run", name]) == 0
        evaluation = json.loads(Path("run/evaluation.json").read_text())
        accuracy = (run.predict(new) == new["y"]).mean()
        assert evaluation["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)


def test_columns_in_another_order_and_others_change_nothing(run, capsys):
    new = table(40, 1)
    new.to_csv("new.csv", index=False, encoding="cp949")
    expected = predictions(capsys, "new.csv")
    changed = new[[*COLUMNS[::-1]]].assign(note="?", **{"a,b": [["x"]] * 40})
    changed.to_csv("changed.csv", index=False, encoding="cp949")
    pd.testing.assert_frame_equal(predictions(capsys, "changed.csv"), expected)


def test_a_marker_of_a_column_is_an_empty_cell_everywhere(run, capsys):
    new = table(6, 1).assign(age=[-1, 30, -1, 40, -1, 50])
    empty = new.assign(age=new["age"].where(new["age"] >= 0))
    np.testing.assert_array_equal(run.predict_proba(new), run.predict_proba(empty))
    new.assign(age=["-1.0", "30", "-1", "40", "", "50"]).to_csv(
        "new.csv", index=False, encoding="cp949"
    )
    predicted = predictions(capsys, "new.csv")
    np.testing.assert_allclose(predicted["P(p)"], run.predict_proba(empty)[:, 0], atol=1e-6)
    assert run.preprocessing.encoder.column_markers == {"age": ("-1",)}


def feed(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def test_the_standard_input_is_evaluated(run, monkeypatch, capsys):
    new = table(40, 1)
    new.to_csv("new.csv", index=False, encoding="cp949")
    feed(monkeypatch, Path("new.csv").read_bytes())
    assert main(["evaluate", "run", "-"]) == 0
    assert "40 rows of the standard input" in capsys.readouterr().out
    feed(monkeypatch, new.to_csv(index=False).encode())
    assert main(["predict", "run", "-", "--encoding", "utf-8"]) == 0
    capsys.readouterr()
    feed(monkeypatch, new.assign(x="one").to_csv(index=False).encode("cp949"))
    assert main(["evaluate", "run", "-"]) == 2
    assert "the standard input" in capsys.readouterr().err
    feed(monkeypatch, b"")
    assert main(["evaluate", "run", "-"]) == 2
    assert "the standard input is empty" in capsys.readouterr().err


def test_the_format_of_the_output_is_chosen(run, capsys):
    new = table(20, 1)
    new.to_csv("new.csv", index=False, encoding="cp949")
    expected = predictions(capsys, "new.csv")
    assert main(["predict", "run", "new.csv", "-o", "a.txt"]) == 2
    assert "--output-format csv|jsonl|parquet" in capsys.readouterr().err
    for out, options, reader in (
        ("a.txt", ["--output-format", "csv"], pd.read_csv),
        ("b.ndjson", [], lambda path: pd.read_json(path, lines=True)),
        ("c.txt", ["--output-format", "jsonl"], lambda path: pd.read_json(path, lines=True)),
        ("d.parquet", [], pd.read_parquet),
        ("e", ["--output-format", "parquet"], pd.read_parquet),
    ):
        assert main(["predict", "run", "new.csv", "-o", out, *options]) == 0
        pd.testing.assert_frame_equal(reader(out), expected, check_dtype=False)
    capsys.readouterr()
    assert main(["predict", "run", "new.csv", "--output-format", "jsonl"]) == 0
    assert capsys.readouterr().out == Path("c.txt").read_text()


def closed_pipe():
    """Return a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    "options", [[], ["--output-format", "jsonl"], ["--output-format", "parquet"], ["--json"]]
)
def test_a_reader_that_leaves_ends_the_predictions_silently(run, options):
    table(2000, 1).to_csv("new.csv", index=False, encoding="cp949")
    ended = cli_process.run("predict", "run", "new.csv", *options, stdout=closed_pipe())
    assert "Traceback" not in ended.stderr
    assert all(line.startswith("note:") for line in ended.stderr.splitlines())


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_training_whose_output_nobody_reads_is_done(trained, options):
    shutil.copy(trained / "table.csv", ".")
    ended = cli_process.run(
        "train", *OVERRIDES, "hydra.run.dir=run", *options, stdout=closed_pipe()
    )
    assert "Traceback" not in ended.stderr
    assert mlplab.load("run").status == "done"
    assert Path("run/evaluation.json").is_file()
