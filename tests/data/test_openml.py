"""dataset=openml: downloaded by scikit-learn, cached, and treated like a file.

Without a connection, one paragraph says so.
"""

from __future__ import annotations

import shutil

import pytest
from fake_openml import cut_off, serve

from mlplab.cli import main
from mlplab.config import settings_of_folder
from mlplab.sweeps.plan.plan_file import read_plan

OVERRIDES = [
    "dataset=openml",
    "dataset.cache=cache",
    "training.epochs=1",
    "tracking=summary",
    "dataset.missing=impute",
]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.mark.parametrize("which", ["dataset.data_name=tiny", "dataset.data_id=77"])
def test_it_is_downloaded_once_and_cached(which, monkeypatch, capsys, tmp_path):
    serve(monkeypatch)
    assert main(["train", *OVERRIDES, which, "hydra.run.dir=one"]) == 0
    shown = capsys.readouterr()
    assert "target bought: 2 classes" in shown.out + shown.err
    report = (tmp_path / "one" / "data_report.md").read_text()
    assert "| color | category |" in report
    cut_off(monkeypatch)
    assert main(["train", *OVERRIDES, which, "hydra.run.dir=two"]) == 0
    assert (tmp_path / "one" / "weights.safetensors").read_bytes() == (
        tmp_path / "two" / "weights.safetensors"
    ).read_bytes()
    assert main(["train", *OVERRIDES, which, "dataset.target=size", "hydra.run.dir=three"]) == 0


@pytest.mark.slow
def test_a_stored_configuration_chooses_no_new_cache(monkeypatch, tmp_path):
    """It may come from somebody else, and scikit-learn would create the folder."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "home"))
    serve(monkeypatch)
    assert main(["train", *OVERRIDES, "dataset.data_name=tiny", "hydra.run.dir=run"]) == 0
    sweep = ["train", "-m", *OVERRIDES, "dataset.data_name=tiny", "tracking=off", "seed=0,1"]
    assert main([*sweep, "hydra.sweep.dir=sweep"]) == 0
    shutil.rmtree(tmp_path / "sweep" / "jobs" / "1")
    again = [["rerun", "run"], ["resume", "run", "training.epochs=2"], ["resume", "sweep"]]
    for folder in ("run", "sweep"):
        assert settings_of(tmp_path / folder).dataset.cache == "cache"
    shutil.rmtree(tmp_path / "cache")
    for arguments in again:
        assert main(arguments) == 0
        assert not (tmp_path / "cache").exists()
    assert (tmp_path / "home" / "openml").is_dir()


def settings_of(folder):
    plan = folder / "plan.yaml"
    return read_plan(folder).jobs[0].settings if plan.is_file() else settings_of_folder(folder)


def test_without_a_connection_one_paragraph_says_so(monkeypatch, capsys, tmp_path):
    cut_off(monkeypatch)
    assert main(["train", *OVERRIDES, "dataset.data_name=adult"]) == 2
    error = capsys.readouterr().err
    assert "openml adult is not in the cache and openml.org cannot be reached" in error
    assert not (tmp_path / "outputs").exists()


def test_an_unknown_data_set_is_named(monkeypatch, capsys):
    serve(monkeypatch)
    assert main(["train", *OVERRIDES, "dataset.data_name=nothing"]) == 2
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize("overrides", [[], ["dataset.data_name=tiny", "dataset.data_id=77"]])
def test_one_of_name_and_number_is_needed(overrides, capsys):
    assert main(["train", *OVERRIDES, *overrides]) == 2
    assert "one of the two" in capsys.readouterr().err


def test_the_key_name_leads_to_data_name(capsys):
    assert main(["train", "dataset=openml", "dataset.name=adult"]) == 2
    assert "dataset.data_name=NAME" in capsys.readouterr().err
