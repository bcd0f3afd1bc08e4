"""Commands on the folder of a run that is not finished, has no frames, or was tampered with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drawing import draw_only

import mlplab
from mlplab.cli import main
from mlplab.errors import DamagedFileError
from mlplab.io import files
from mlplab.io.files import load_weights, open_atomic, save_weights, write_text_atomic
from mlplab.runs import record

ROWS = "x1,x2\n0.1,0.2\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    overrides = ["dataset=moons", "training.epochs=2", "tracking=scalars", "device=cpu"]
    folder = tmp_path_factory.mktemp("finished") / "run"
    mlplab.run(overrides, folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run without frames."""
    Path("new.csv").write_text(ROWS)
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.parametrize("status", [None, "failed"])
@pytest.mark.parametrize(
    "command",
    [
        "evaluate run",
        "evaluate run new.csv",
        "predict run new.csv -o out.csv",
        "export run",
        "report run",
        "rerun run --check",
    ],
)
def test_a_run_without_weights_is_named_as_unfinished(command, status, run, capsys):
    (run / "weights.safetensors").unlink()
    (run / "summary.json").unlink()
    if status is not None:
        (run / "summary.json").write_text(json.dumps({"status": status, "metrics": {}}))
    assert main(command.split()) == 2
    errors = capsys.readouterr().err
    assert "run holds a run without weights, which has not finished, or failed" in errors
    assert "`mlplab resume run`" in errors


def test_a_report_without_frames_has_the_pictures_of_the_final_network(run, monkeypatch, capsys):
    draw_only(monkeypatch, "confusion", "curves")
    assert main(["report", "run"]) == 0
    names = {path.name for path in (run / "pictures").iterdir()}
    assert names == {"confusion.png", "curves.png"}
    assert not (run / "report.html").exists()
    assert "no frames of its training" in capsys.readouterr().err


def test_an_animation_without_frames_is_refused(run, capsys):
    assert main(["report", "run", "--gif"]) == 2
    assert "no frames of its training" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(class_names=[{"a": 1}, {"b": 2}]),
        lambda fields: fields.update(class_names=["a", "b", "c"]),
        lambda fields: fields["task"].update(num_classes=10**9),
        lambda fields: fields["task"].update(kind="regression", num_targets=10**9),
        lambda fields: fields["task"].update(kind="other"),
        lambda fields: fields.update(feature_names=["x1"]),
        lambda fields: fields["feature_scaler"].update(shift=[0.0] * 3),
    ],
    ids=["dicts", "names", "classes", "targets", "kind", "features", "scaler"],
)
def test_b29_preprocessing_that_contradicts_itself_is_refused(change, run):
    path = run / "weights.safetensors"
    tensors, metadata = load_weights(path)
    fields = json.loads(metadata["preprocessing"])
    change(fields)
    save_weights(path, tensors, {**metadata, "preprocessing": json.dumps(fields)})
    with pytest.raises(DamagedFileError, match=r"weights\.safetensors"):
        mlplab.load(run)


def test_what_a_killed_command_left_is_removed_by_the_next_one(run):
    """A temporary file that another process still writes is kept."""
    leftover, foreign = Path(".tmp-1-0123abcd"), Path(".tmp-notes")
    for path in (leftover, foreign):
        path.write_text("half")
    with open_atomic(Path("other.csv")) as (staged, _):
        assert main(["predict", "run", "new.csv", "-o", "out.csv"]) == 0
        assert staged.exists()
    assert not leftover.exists()
    assert foreign.exists()
    assert Path("other.csv").exists()


def test_a_temporary_file_is_recreated_if_it_is_deleted_before_it_is_locked(monkeypatch):
    """Another process may take it for the leftover of a killed one."""
    created = []

    def lock(descriptor):
        created.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if len(created) == 1:
            os.unlink(created[0])
        return len(created) != 2  # locked by the process that is about to delete it

    monkeypatch.setattr(files, "try_lock", lock)
    write_text_atomic(Path("out.txt"), "whole")
    assert len(created) == 3
    assert Path("out.txt").read_text() == "whole"


@pytest.mark.parametrize("name", ["overrides.yaml", "provenance.json", "config.yaml"])
def test_a_run_without_a_configuration_is_started_again(name, monkeypatch, capsys):
    """A folder with a configuration can be resumed, so it is written last."""

    class Killed(BaseException):
        pass

    def write(path, data, **options):
        if path.name == name:
            raise Killed
        files.write_bytes_atomic(path, data, **options)

    command = ["train", "dataset=moons", "training.epochs=1", "tracking=off", "hydra.run.dir=run"]
    with monkeypatch.context() as patch:
        patch.setattr(record, "write_yaml", lambda path, value: write(path, b""))
        patch.setattr(record, "write_json", lambda path, value: write(path, b""))
        patch.setattr(record, "write_text_atomic", lambda path, text: write(path, text.encode()))
        with pytest.raises(Killed):
            main(command)
    assert main(["resume", "run"]) == 2
    assert "ended during its set-up" in capsys.readouterr().err
    assert main(command) == 0
    assert mlplab.load("run").status == "done"


def test_without_docstrings_choices_are_listed():
    """`python -OO` removes them, and the descriptions of settings are read from them."""
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "mlplab", "list", "optimizer", "adam"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "optimizer=adam" in done.stdout
