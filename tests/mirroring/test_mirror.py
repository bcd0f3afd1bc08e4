"""What a tracker gets of runs and sweeps: the numbers of their folders, each once."""

from __future__ import annotations

import json
import math
import shutil

import fake_tracker
import pytest
from harness import QUICK, refused
from pauses import interrupt_at

import mlplab
from mlplab import experiment, trackers
from mlplab.cli import main
from mlplab.commands.mirror import mirror
from mlplab.config import plugins, settings_of_folder
from mlplab.errors import ConfigError, LinkError
from mlplab.mirroring import contents, sending
from mlplab.mirroring.sending import Mirror
from mlplab.mirroring.state import FOLDER, sent_so_far
from mlplab.runs.flat_config import flat_config
from mlplab.tracking import read_metrics


def check_numbers(run, columns, summary):
    """The tracker has the numbers of metrics.csv and of summary.json, and no others."""
    names = [name for name in columns if name not in ("epoch", "step")]
    expected = [
        [int(epoch), int(step), dict(zip(names, values, strict=True))]
        for epoch, step, *values in zip(
            *(columns[name] for name in ("epoch", "step", *names)), strict=True
        )
    ]
    assert run["rows"] == expected
    assert run["status"] == summary["status"]
    final = dict(run["summary"])
    for name, value in summary["metrics"].items():
        split, _, metric = name.partition("/")
        key = name if split == "test" else f"{split}_best/{metric}"
        assert final.pop(key) == value
    assert final == {name: summary[name] for name in final}
    assert final["best_epoch"] == summary["best_epoch"]


def check_run(run, folder):
    summary = json.loads((folder / "summary.json").read_text())
    check_numbers(run, read_metrics(folder / "metrics.csv"), summary)
    assert run["params"] == flat_config(folder)
    assert run["artifacts"]["config.yaml"] == (folder / "config.yaml").stat().st_size
    assert run["tags"]["mlplab.seed"] == str(summary["seed"])
    assert run["tags"]["mlplab.name"] == "xor_mlp"


def test_a_run_arrives_exactly_and_once(outputs, sent):
    folder = outputs / "runs" / "xor" / "run"
    [run] = sent(folder).values()
    check_run(run, folder)
    assert run["methods"][:3] == ["open", "params", "metrics"]
    assert run["kind"] == "run"
    assert run["parent"] is None
    assert "weights.safetensors" not in run["artifacts"]
    assert sent(folder) == {}
    [again] = sent(folder, weights=True).values()
    assert list(again["artifacts"]) == ["weights.safetensors"]
    assert again["rows"] == []


@pytest.mark.parametrize("form", ["folders", "packed"])
def test_a_sweep_arrives_with_its_jobs(form, outputs, sent):
    folder = outputs / "sweeps" / "xor" / form
    runs = sent(folder)
    [parent] = (run for run in runs.values() if run["kind"] == "sweep")
    jobs = {run["name"]: run for run in runs.values() if run["kind"] == "job"}
    assert sorted(jobs) == [f"{form}/{number}" for number in range(3)]
    assert parent["params"]["seed"] == [0, 1, 2]
    assert parent["params"]["optimizer"] == "adam"
    assert parent["summary"]["done"] == 3
    assert {"plan.yaml", "results.csv", "report.html"} <= parent["artifacts"].keys()
    for number in range(3):
        job = jobs[f"{form}/{number}"]
        assert job["parent"] == parent["id"]
        opened = folder / "jobs" / str(number)
        if form == "packed":
            assert main(["open", str(folder), str(number)]) == 0
        check_run(job, opened)
    assert sent(folder) == {}


def test_both_forms_of_a_sweep_send_the_same(outputs, sent):
    def numbers(form):
        runs = sent(outputs / "sweeps" / "xor" / form).values()
        jobs = sorted((run["tags"]["mlplab.job"], run) for run in runs if run["kind"] == "job")
        return [(job["rows"], job["params"]["optimizer.lr"], job["status"]) for _, job in jobs]

    assert numbers("folders") == numbers("packed")


@pytest.mark.parametrize("form", ["folders", "packed"])
def test_one_job_of_a_sweep_and_then_the_others(form, outputs, capsys):
    folder = outputs / "sweeps" / "xor" / form
    assert main(["mirror", f"{folder}:1", "--to", fake_tracker.NAME]) == 0
    first = [record for record in fake_tracker.RECORDS if record["method"] == "open"]
    assert [record["name"] for record in first] == [form, f"{form}/1"]
    assert not (folder / "jobs" / "1" / FOLDER).exists()
    if form == "folders":
        assert main(["mirror", str(folder / "jobs" / "1"), "--to", fake_tracker.NAME]) == 0
    assert main(["mirror", str(folder), "--to", fake_tracker.NAME]) == 0
    opened = [record for record in fake_tracker.RECORDS if record["method"] == "open"]
    assert [record["name"] for record in opened[2:]] == [f"{form}/0", f"{form}/2"]
    assert {record["parent"] for record in opened[1:]} == {first[0]["id"]}
    assert "7 evaluations" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no job 8"):
        mirror([f"{folder}:8", "--to", fake_tracker.NAME])


def test_an_interrupted_run_is_continued_by_its_resume(tmp_path, sent, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        interrupt_at(6, patched)
        mlplab.run(QUICK, folder)
    [before] = sent(folder).values()
    assert before["status"] == "interrupted"
    assert 0 < len(before["rows"]) < 13
    experiment.resume(folder, settings_of_folder(folder), quiet=True)
    [after] = sent(folder).values()
    assert after["id"] == before["id"]
    assert after["status"] == "done"
    assert [row[0] for row in before["rows"] + after["rows"]] == list(range(13))
    check_numbers(
        {**after, "rows": before["rows"] + after["rows"]},
        read_metrics(folder / "metrics.csv"),
        json.loads((folder / "summary.json").read_text()),
    )


def test_a_run_whose_numbers_have_changed_is_sent_anew(outputs, sent):
    folder = outputs / "runs" / "xor" / "run"
    [before] = sent(folder).values()
    lines = (folder / "metrics.csv").read_text().splitlines()
    lines[3] = lines[4].replace("3,", "2,", 1)
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "new.png").write_bytes(b"png")
    [after] = sent(folder).values()
    assert after["id"] != before["id"]
    assert len(after["rows"]) == 7
    assert sent(folder) == {}


def test_a_training_is_followed_row_by_row(outputs, monkeypatch):
    folder = outputs / "runs" / "xor" / "run"
    complete = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    shutil.move(folder / "summary.json", outputs / "summary.json")
    sender = Mirror(folder, fake_tracker.NAME)
    for count in (2, 2, 5, 8):
        (folder / "metrics.csv").write_text("".join(complete[:count]))
        sender.sync(False)
    assert [len(one["rows"]) for one in fake_tracker.RECORDS if one["method"] == "metrics"] == [
        *(1, 3, 3)
    ]
    assert sent_so_far(folder, fake_tracker.NAME) == 7
    shutil.move(outputs / "summary.json", folder / "summary.json")
    sender.sync(True)
    assert fake_tracker.RECORDS[-1]["method"] == "close"
    assert fake_tracker.RECORDS[-1]["status"] == "done"


@pytest.mark.parametrize("damage", ["lost", "text", "list", "wrong"])
def test_without_its_state_a_run_keeps_its_id(damage, outputs, sent):
    folder = outputs / "runs" / "xor" / "run"
    [before] = sent(folder)
    path = folder / FOLDER / f"{fake_tracker.NAME}.json"
    if damage == "lost":
        shutil.rmtree(folder / FOLDER)
    elif damage == "wrong":
        content = json.loads(path.read_text())
        for runs in content["targets"].values():
            runs[""]["rows"] = "many"
        path.write_text(json.dumps(content))
    else:
        path.write_text({"text": "{", "list": "[1]"}[damage])
    [after] = sent(folder)
    assert after == before


def test_another_target_gets_everything(outputs, sent, monkeypatch, tmp_path):
    folder = outputs / "runs" / "xor" / "run"
    [first] = sent(folder).values()
    monkeypatch.setenv("RECORDER", str(tmp_path / "lines"))
    [second] = sent(folder).values()
    assert second["rows"] == first["rows"]
    monkeypatch.delenv("RECORDER")
    assert sent(folder) == {}


def test_a_failure_is_tried_again_where_it_happened(outputs, sent, monkeypatch):
    folder = outputs / "sweeps" / "xor" / "folders"
    monkeypatch.setenv("RECORDER_FAULT", "raise")
    sender = Mirror(folder, fake_tracker.NAME)
    with pytest.raises(OSError, match="gone"):
        sender.sync(True)
    sender.forget()
    monkeypatch.delenv("RECORDER_FAULT")
    fake_tracker.RECORDS.clear()
    sender.sync(True)
    closed = [record["status"] for record in fake_tracker.RECORDS if record["method"] == "close"]
    assert closed == ["done"] * 3
    assert sent(folder) == {}


def test_a_link_instead_of_the_state_is_refused(outputs, tmp_path):
    folder = outputs / "runs" / "xor" / "run"
    (folder / FOLDER).symlink_to(tmp_path)
    with pytest.raises(LinkError):
        Mirror(folder, fake_tracker.NAME)


def test_final_numbers_have_other_names_than_evaluations():
    summary = {"best_epoch": 3, "metrics": {"val/loss": None, "test/loss": 1.0, "train/f1": 0.5}}
    numbers = contents.final_numbers(summary, ("best_epoch", "epochs"))
    assert math.isnan(numbers.pop("val_best/loss"))
    assert numbers == {"best_epoch": 3.0, "test/loss": 1.0, "train_best/f1": 0.5}


def test_a_local_store_is_in_the_outputs(tmp_path):
    assert sending.root_of(tmp_path / "o" / "runs" / "xor" / "a") == tmp_path / "o"
    assert str(sending.root_of(tmp_path / "run")) == "outputs"


@pytest.mark.parametrize(
    ("override", "texts"),
    [
        ("tracking.mirror=[mlfow]", ["no tracker `mlfow`", "Did you mean `mlflow`", "--plugin"]),
        ("tracking.mirror=mlflow", ["is not a list of names, such as [mlflow]"]),
        ("tracking.mirror=[3]", ["is not a list of names"]),
    ],
)
def test_a_wrong_tracker_is_refused_before_anything_is_written(override, texts, capfd, tmp_path):
    refused(["train", *QUICK, override, "hydra.run.dir=x"], capfd, *texts)
    refused(["train", "-m", *QUICK, override, "seeds=2", "hydra.sweep.dir=x"], capfd, *texts)


def test_a_class_that_is_no_tracker_is_refused():
    with pytest.raises(ConfigError, match="it lacks open, params, metrics, artifact, close"):
        plugins.register("tracker", "thing")(dict)

    class Half(trackers.Tracker):
        def open(self, run):
            """Nothing."""

    with pytest.raises(ConfigError, match="it lacks params, metrics, artifact, close"):
        plugins.register("tracker", "half")(Half)
    of_notebook = type("OfNotebook", (fake_tracker.Recorder,), {"__module__": "__main__"})
    with pytest.raises(ConfigError, match="write it into another file"):
        plugins.register("tracker", "of_notebook")(of_notebook)
    with pytest.raises(ConfigError, match="taken"):
        plugins.register("tracker", "mlflow")(fake_tracker.Recorder)


def test_mirror_without_a_tracker_says_how_to_choose_one(outputs, capfd):
    folder = outputs / "runs" / "xor" / "run"
    assert main(["mirror", str(folder)]) == 2
    assert f"mlplab mirror {folder} --to mlflow" in capfd.readouterr().err
