"""What mlplab accepts and shows in Python: overrides, labels, histories, names and reprs."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import same_folder

import mlplab
from mlplab.cli import main
from mlplab.config.composer import override_list
from mlplab.errors import ConfigError

ROOT = Path(__file__).parents[1]
TINY = {"experiment": "xor_mlp", "training.epochs": 2, "dataset.num_samples": 60}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return mlplab.run({**TINY, "tracking": "summary"}, tmp_path_factory.mktemp("runs") / "run")


def test_overrides_are_a_list_one_text_a_mapping_or_none():
    assert override_list("a=b") == ["a=b"]
    assert override_list(None) == []
    assert override_list(("a=1", "b=2")) == ["a=1", "b=2"]
    assert override_list({"seed": 3, "x": None, "h": [2, 3]}) == ["seed=3", "x=null", "h=[2, 3]"]
    for wrong in (3, [1, 2], ["a=1", None]):
        with pytest.raises(ConfigError, match="they are a list of texts"):
            mlplab.run(wrong)
        with pytest.raises(ConfigError, match="they are a list of texts"):
            mlplab.fit([[1.0]], [1.0], wrong)


def test_python_and_the_command_leave_the_same_folder(tmp_path):
    overrides = override_list({**TINY, "tracking": "scalars"})
    mlplab.run(overrides, tmp_path / "python")
    overrides.append(f"hydra.run.dir={tmp_path / 'command'}")
    assert main(["train", *overrides]) == 0
    lines = tmp_path / "command" / "overrides.yaml"  # without the folder, which Python passes
    lines.write_text(lines.read_text().replace(f"- {overrides[-1]}\n", ""))
    assert same_folder.differences(tmp_path / "command", tmp_path / "python") == []


def test_predict_returns_the_labels_that_the_command_writes(run):
    points = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    codes = run.predict_codes(points)
    assert codes.tolist() == run.predict_proba(points).argmax(1).tolist()
    assert run.predict(points).tolist() == [run.preprocessing.class_names[code] for code in codes]


@pytest.mark.parametrize("labels", [["no", "yes"], [10, -3], ["1.0", "2.0"]])
def test_predictions_compare_with_the_targets_of_fit(labels, tmp_path):
    X = np.linspace(-1, 1, 60)[:, None]
    y = np.array(labels)[(X[:, 0] > 0).astype(int)]
    quick = {"training.epochs": 60, "optimizer.lr": 0.05, "tracking": "off"}
    run = mlplab.fit(X, y, quick, folder=tmp_path / "run")
    assert (run.predict(X) == y).mean() > 0.9


def test_a_history_is_a_mapping(run):
    history = run.history
    assert list(history) == list(history.keys())
    assert set(dict(history.items())) >= {"epoch", "step", "train/loss", "val/loss"}
    assert "val/loss" in history
    assert "loss" not in history
    with pytest.raises(KeyError, match=r"'n' is not measured; measured are epoch, step, "):
        history["n"]
    with pytest.raises(KeyError, match=r"'val/los' is not measured; did you mean 'val/loss'\?"):
        history["val/los"]


def test_a_notebook_shows_the_metrics_of_a_run(run):
    assert repr(run).startswith(f"Run({str(run.folder)!r}, done, ")
    assert len(repr(run)) < 300
    assert f"<td>{run.metrics['test/accuracy']:#.4g}</td>" in run._repr_html_()
    assert repr(run.history).startswith("History(3 evaluations of epoch, step, ")


def test_the_page_of_the_interface_is_what_the_script_writes(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = runpy.run_path(str(ROOT / "scripts" / "write_api.py"))
    assert script["main"](check=True) == 0, capsys.readouterr().out
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert all(f"`mlplab.{name}`" in text for name in mlplab.__all__)
    assert "class '" not in text


def test_names_of_the_module():
    assert all(getattr(mlplab, name).__name__ in (name, "Run") for name in mlplab.__all__)
    assert mlplab.__version__.startswith("0.")
    assert mlplab.sklearn.MLPClassifier.__name__ == "MLPClassifier"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mlplab.nothing  # noqa: B018


def test_a_sweep_is_not_loaded_as_a_run(tmp_path):
    (tmp_path / "plan.yaml").write_text("")
    with pytest.raises(ConfigError, match="is the folder of a sweep: name one of its jobs"):
        mlplab.load(tmp_path)
