"""Jobs in packs: an opened job equals one in a folder byte by byte, kills lose and repeat nothing,
and a pack that is damaged or hostile is refused.
"""

from __future__ import annotations

import json
import shutil
import struct
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cli_process import start
from harness import size, wait_for
from safetensors.torch import load, save
from same_folder import differences

import mlplab
from mlplab.cli import main
from mlplab.errors import ConfigError, DamagedFileError, LinkError, UnfinishedRunError
from mlplab.runs.frames_file import has_frames
from mlplab.runs.pack_file import pack_bytes
from mlplab.runs.pack_index import Pack, checksum
from mlplab.runs.pack_reader import read_records
from mlplab.runs.packs import Packs
from mlplab.sweeps.execution.loaded_jobs import read_packed
from mlplab.sweeps.execution.stores import PackStore, open_store
from mlplab.sweeps.open_job import add_frames, open_job
from mlplab.sweeps.plan import tracked
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.report.charts import curves
from mlplab.sweeps.report.collect import collect
from mlplab.sweeps.report.group_events import BEST_JOBS

SMALL = [
    *("experiment=xor_mlp", "dataset.num_samples=60", "training.epochs=4", "device=cpu"),
    "training.batch_size=16",
]


@pytest.fixture
def packs_above_three(monkeypatch):
    """Sweeps of more than three jobs are packed, so that both forms have the same configuration."""
    monkeypatch.setattr(tracked, "MAX_JOB_FOLDERS", 3)


class Logging(mlplab.Callback):
    """Logs a scalar and an artifact of each member."""

    def on_end(self, session):
        for group in session.groups:
            for number in group.numbers:
                session.log("mine/number", torch.tensor(float(number)), member=number)
                session.save_artifact("mine.txt", f"member {number}", member=number)


def train(name, overrides, monkeypatch, folders=False):
    with monkeypatch.context() as patched:
        if folders:
            patched.setattr(tracked, "MAX_JOB_FOLDERS", 10**9)
        return main(["train", "-m", *overrides, f"hydra.sweep.dir={name}"])


def results(name):
    return pd.read_csv(f"{name}/results.csv").drop(columns=["seconds", "cpu_seconds"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.hidden=[3],[4,2]", "model.normalization=none,batch", "model.dropout=0,0.2"],
        ["tracking=off", "seed=0,1,2,3"],
        ["engine=eager", "seed=0,1,2,3", "training.patience=2"],
        ["optimizer=sgd", "loss=mse_onehot", "activation=relu", "optimizer.lr=0.1,0.2,1e30,1e31"],
    ],
    ids=["structures", "off", "frames", "diverged"],
)
def test_an_opened_job_equals_one_in_a_folder(overrides, packs_above_three, monkeypatch):
    overrides = [*SMALL, *overrides]
    codes = [
        train("packed", overrides, monkeypatch),
        train("folders", overrides, monkeypatch, True),
    ]
    assert codes[0] == codes[1]
    assert not Path("packed/jobs").exists()
    pd.testing.assert_frame_equal(results("packed"), results("folders"), check_exact=True)
    for job in read_plan(Path("packed")).jobs:
        folder = open_job(Path("packed"), job.number)
        assert differences(folder, Path("folders/jobs", str(job.number))) == []
    assert not list(Path("packed").rglob(".aside*"))


def test_failed_jobs_and_what_callbacks_saved(plugin, packs_above_three, monkeypatch):
    overrides = [*SMALL, "dataset=broken", "dataset.mood=0,1,0.5,0.2"]
    codes = [
        main(["train", "--plugin", plugin, "-m", *overrides, f"hydra.sweep.dir={name}"])
        for name in ("packed", "folders")
        if name == "packed" or monkeypatch.setattr(tracked, "MAX_JOB_FOLDERS", 99) is None
    ]
    assert codes == [1, 1]
    for number in range(4):
        folder = open_job(Path("packed"), number)
        assert differences(folder, Path("folders/jobs", str(number))) == []
    assert "no mood today" in Path("packed/jobs/1/error.txt").read_text()
    with pytest.raises(UnfinishedRunError, match="no mood today"):
        mlplab.load("packed", job=1)


def test_what_callbacks_log_is_in_the_pack(packs_above_three):
    mlplab.sweep([*SMALL, "seed=range(5)"], "packed", callbacks=[Logging()])
    folder = open_job(Path("packed"), 3)
    assert (folder / "artifacts" / "mine.txt").read_text() == "member 3"
    [record] = read_records(Pack(next(Path("packed/packs").iterdir())), [3])
    assert [value for _, value, _ in record.outcome.logged.scalars["mine/number"]] == [3.0]


def test_205_jobs_leave_few_files(capsys):
    assert main(["train", "-m", *SMALL, "seeds=205", "hydra.sweep.dir=sweep"]) == 0
    names = {path.name for path in Path("sweep").iterdir()}
    assert names - {".lock", ".compute.csv"} == {
        *("packs", "plan.yaml", "summary.json", "results.csv", "summary.md", "report.html"),
        "tensorboard",
    }
    assert len(list(Path("sweep").rglob("events.out.tfevents.*"))) == 1 + BEST_JOBS
    assert len(list(Path("sweep/packs").iterdir())) == 1
    assert read_plan(Path("sweep")).options.jobs == "packed"
    capsys.readouterr()
    assert main(["open", "sweep", "17"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "sweep/jobs/17"
    assert main(["train", *SMALL, "seed=17", "tracking=scalars", "hydra.run.dir=alone"]) == 0
    for name in ("metrics.csv", "weights.safetensors", "checkpoints/last.safetensors"):
        assert Path("sweep/jobs/17", name).read_bytes() == Path("alone", name).read_bytes()
    alone, opened = mlplab.load("alone"), mlplab.load("sweep:17")
    assert opened.metrics == alone.metrics == mlplab.load("sweep", job=17).metrics
    x = np.zeros((2, 2))
    for run in (opened, mlplab.load("sweep", job=200)):
        assert run.predict_proba(x).shape == (2, 2)
    assert not Path("sweep/jobs/200").exists()  # loading writes nothing
    capsys.readouterr()
    assert main(["open", "sweep", "205"]) == 2
    assert "0 to 204" in capsys.readouterr().err
    assert main(["open", "sweep", "3", "-o", "elsewhere/three"]) == 0
    assert mlplab.load("elsewhere/three").settings.seed == 3
    assert main(["open", "sweep", "3", "-o", "elsewhere/three"]) == 2


@pytest.mark.parametrize(
    ("overrides", "jobs"),
    [
        (["seed=0,1,2"], "folders"),
        (["seed=range(5)"], "packed"),
        (["seed=range(5)", "tracking.jobs=folders"], "folders"),
        (["seed=0,1", "tracking.jobs=packed"], "packed"),
        (["seed=range(5)", "tracking=full"], "folders"),
    ],
)
def test_what_decides(overrides, jobs, packs_above_three, capsys):
    from mlplab.config.composer import Composer
    from mlplab.sweeps.run_sweep import SweepRequest

    SweepRequest(Composer([*SMALL, *overrides])).write_plan(Path("sweep"))
    assert read_plan(Path("sweep")).options.jobs == jobs
    assert ("tracking=full draws" in capsys.readouterr().err) == ("tracking=full" in overrides)


def test_an_extended_sweep_keeps_its_form(packs_above_three):
    mlplab.sweep([*SMALL, "seed=0,1"], "folders")
    table = mlplab.sweep([*SMALL, "seed=range(6)"], "folders")
    assert len(list(Path("folders/jobs").iterdir())) == len(table) == 6
    mlplab.sweep([*SMALL, "seed=range(5)"], "packed")
    [first] = Path("packed/packs").iterdir()
    before = first.stat().st_mtime_ns
    table = mlplab.sweep([*SMALL, "seed=range(8)", "activation=tanh,relu"], "packed")
    assert list(table["job"]) == list(range(16))
    assert set(table["status"]) == {"done"}
    assert first.stat().st_mtime_ns == before


def test_populations_appear_one_by_one_and_are_merged(packs_above_three, monkeypatch):
    """A pack for each group that ends, and one when the work unit is done."""
    monkeypatch.setattr(PackStore, "max_wait", 0.0)
    written, write = [], Packs.write

    def spy(self, records, prefix):
        written.append(sorted(record.number for record in records))
        write(self, records, prefix)

    monkeypatch.setattr(Packs, "write", spy)
    overrides = [*SMALL, "training.epochs=2,40", "model.hidden=[3],[4]", "seed=0,1,2"]
    mlplab.sweep(overrides, "sweep")
    assert sorted(number for numbers in written[:-1] for number in numbers) == list(range(12))
    assert len(written) > 2
    assert written[-1] == list(range(12))
    assert len(list(Path("sweep/packs").iterdir())) == 1


def test_a_merge_that_was_killed_counts_no_job_twice(packs_above_three, monkeypatch):
    monkeypatch.setattr(PackStore, "max_wait", 0.0)
    unlink = Path.unlink
    overrides = [*SMALL, "training.epochs=2,40", "model.hidden=[3],[4]", "seed=0,1,2"]

    def killed(path, **keywords):
        if path.suffix == ".safetensors" and path.parent.name == "packs":
            raise KeyboardInterrupt
        unlink(path, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            mlplab.sweep(overrides, "sweep")
    assert len(list(Path("sweep/packs").iterdir())) > 2
    packs = Packs(Path("sweep"))
    packs.refresh()
    assert packs.numbers == list(range(12))
    assert sorted(record.number for record in packs.records(packs.numbers)) == packs.numbers
    table = mlplab.sweep(overrides, "sweep")
    assert list(table["job"]) == list(range(12))
    assert len(list(Path("sweep/packs").iterdir())) == 1


def test_two_processes_that_merged_the_same_packs(sweep):
    """Both have written one with the same jobs: one of them goes when the sweep is resumed."""
    path = only_pack(sweep)
    shutil.copy(path, path.with_name("merged-0123456789ab.safetensors"))
    assert main(["resume", "sweep"]) == 0
    assert Pack(only_pack(sweep)).numbers == [0, 1, 2, 3]


def test_a_job_that_failed_is_tried_again(plugin, packs_above_three):
    overrides = ["--plugin", plugin, "-m", *SMALL, "dataset=broken", "dataset.mood=0,1,0.5,0.2"]
    assert main(["train", *overrides, "hydra.sweep.dir=sweep"]) == 1
    open_job(Path("sweep"), 1)
    from mlplab.config import plugins

    cls = plugins._registered["dataset"]["broken"]
    real = cls.make
    cls.make = lambda self, generator: super(cls, self).make(generator)
    try:
        assert main(["resume", "--plugin", plugin, "sweep"]) == 0
    finally:
        cls.make = real
    assert list(results("sweep")["status"]) == ["done"] * 4
    assert len(list(Path("sweep/packs").iterdir())) == 1
    # the folder of the failed attempt is replaced
    assert json.loads((open_job(Path("sweep"), 1) / "summary.json").read_text())["status"] == "done"


def test_predictions_of_a_packed_sweep(packs_above_three, capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])
    frame["y"] = np.where(frame["a"] > 0, "yes", "no")
    frame.to_csv("rows.csv", index=False)
    overrides = [
        *("dataset=file", "dataset.path=rows.csv", "dataset.target=y", "model.hidden=[3]"),
        *("training.epochs=3", "seed=range(5)", "tracking=summary", "device=cpu"),
    ]
    for name, jobs in (("packed", "packed"), ("folders", "folders")):
        mlplab.sweep([*overrides, f"tracking.jobs={jobs}"], name)
        for best in ([], ["--best", "2"]):
            out = f"{name}{len(best)}.csv"
            assert main(["predict", name, "rows.csv", "-o", out, *best]) == 0
    for number in (0, 2):
        assert Path(f"packed{number}.csv").read_bytes() == Path(f"folders{number}.csv").read_bytes()
    assert main(["predict", "packed:3", "rows.csv", "-o", "three.csv"]) == 0
    assert main(["predict", "folders:3", "rows.csv", "-o", "folder.csv"]) == 0
    assert Path("three.csv").read_bytes() == Path("folder.csv").read_bytes()
    capsys.readouterr()
    assert main(["rerun", "packed:3", "--check", "--out", "again"]) == 0
    assert "identical" in capsys.readouterr().out


def test_a_cross_validation_in_a_pack(packs_above_three):
    overrides = [*SMALL, "validation=kfold", "validation.folds=4"]
    for jobs in ("packed", "folders"):
        assert main(["train", *overrides, f"tracking.jobs={jobs}", f"hydra.sweep.dir={jobs}"]) == 0
    ours, theirs = (Path(name, "predictions.csv").read_bytes() for name in ("packed", "folders"))
    assert ours == theirs


@pytest.mark.campaign("kills")
def test_workers_share_packs(packs_above_three):
    overrides = [*SMALL, "activation=tanh,relu", "seed=range(4)", "tracking.jobs=packed"]
    driver = start("train", "-m", *overrides, "sweep.workers=2", "hydra.sweep.dir=sweep")
    output, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, output + errors
    mlplab.sweep([*overrides, "tracking.jobs=folders"], "folders")
    pd.testing.assert_frame_equal(results("sweep"), results("folders"), check_exact=True)
    assert not Path("sweep/.locks").exists()


@pytest.mark.campaign("kills")
@pytest.mark.timeout(6000)
def test_two_drivers_killed_at_random_lose_and_repeat_nothing():
    """As the table of an undisturbed sweep, however often its drivers are killed."""
    jobs, kills = size(4096, 16_384), 10
    overrides = [
        *("experiment=xor_mlp", "training.epochs=60", f"seed=range({jobs // 2})"),
        *("activation=tanh,relu", "tracking.jobs=packed", "tracking.checkpoint_seconds=0.2"),
    ]
    assert main(["train", "-m", *overrides, "hydra.sweep.dir=undisturbed"]) == 0
    random, seen = np.random.default_rng(3), {}
    arguments = ("train", "-m", *overrides, "hydra.sweep.dir=sweep")
    drivers = [start(*arguments), start(*arguments)]
    for _ in range(kills):
        before = _traces()
        wait_for(lambda before=before: _traces() - before or _all_ended(drivers), 600)
        time.sleep(random.uniform(0, jobs / 4096))
        victim = int(random.integers(2))
        drivers[victim].kill()
        drivers[victim].communicate()
        _same_as_before(seen)
        drivers[victim] = start(*arguments)
    outputs = [driver.communicate(timeout=3000) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], outputs
    _same_as_before(seen)
    ours, theirs = results("sweep"), results("undisturbed")
    assert list(ours["job"]) == list(range(jobs))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert main(["resume", "sweep"]) == 0
    counted = [number for path in Path("sweep/packs").iterdir() for number in Pack(path).numbers]
    assert sorted(counted) == list(range(jobs))


def _traces():
    """The names of packs and checkpoints: a new one shows that a driver trains."""
    patterns = ("packs/*.safetensors", ".checkpoints/*/*/state-*.json")
    return {str(path) for pattern in patterns for path in Path("sweep").glob(pattern)}


def _all_ended(drivers):
    return all(driver.poll() is not None for driver in drivers)


def _same_as_before(seen):
    """A job that was stored is never trained again."""
    if not Path("sweep/packs").is_dir():
        return
    packs = Packs(Path("sweep"))
    packs.refresh()
    assert seen.keys() <= set(packs.numbers)
    for number in packs.numbers:
        assert seen.setdefault(number, packs.ended(number)) == packs.ended(number)


def test_frames_are_made_again(sweep, capsys):
    """A job without frames is trained again for its page: those of a run with tracking=full."""
    mlplab.sweep([*SMALL, "seed=range(4)", "tracking=scalars", "tracking.jobs=packed"], "scalars")
    folder = open_job(Path("scalars"), 2)
    assert not has_frames(folder)
    add_frames(folder)
    expected = open_job(sweep, 2) / "frames.safetensors"  # recorded while it was trained
    assert (folder / "frames.safetensors").read_bytes() == expected.read_bytes()
    (folder / "frames.safetensors").unlink()
    weights = folder / "weights.safetensors"
    weights.write_bytes((open_job(sweep, 3) / "weights.safetensors").read_bytes())
    add_frames(folder)
    assert "other weights" in capsys.readouterr().err
    assert not has_frames(folder)


def test_packed_jobs_are_listed(sweep, capsys):
    open_job(sweep, 1)
    assert main(["runs", ".", "--jobs", "--sort", "val/loss"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()].count("sweep/jobs/1") == 1
    assert "4 of 5" in out
    assert main(["runs", "compare", "sweep:0", "sweep:1"]) == 0
    path = only_pack(sweep)
    path.write_bytes(b"")
    assert main(["runs", ".", "--jobs"]) == 0


# Damaged and hostile packs.


def only_pack(sweep):
    [path] = (sweep / "packs").iterdir()
    return path


def read_all(sweep):
    packs = Packs(sweep)
    packs.refresh()
    return list(packs.records(packs.numbers))


def test_every_damaged_byte_is_noticed(sweep):
    """Whatever byte of a pack changes: it is refused, or what is read is the same."""
    path, rng = only_pack(sweep), np.random.default_rng(0)
    data = path.read_bytes()
    expected = pack_bytes(read_all(sweep))
    for position in rng.integers(0, len(data), size(150, 2000)).tolist():
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read = pack_bytes(read_all(sweep))
        except DamagedFileError:
            continue
        assert read == expected
    for length in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedFileError):
            read_all(sweep)


@pytest.mark.parametrize("command", ["report", "open", "predict", "work"])
def test_a_damaged_pack_is_refused_in_one_sentence(command, sweep, capfd):
    path = only_pack(sweep)
    path.write_bytes(path.read_bytes()[:-40])
    more = {"open": ["2"], "predict": ["plan.csv", "-o", "out.csv"]}.get(command, [])
    capfd.readouterr()
    assert main([command, "sweep", *more]) == 2
    errors = capfd.readouterr().err
    assert "Traceback" not in errors
    assert len([line for line in errors.splitlines() if line.startswith("mlplab: ")]) == 1
    assert str(path) in errors
    assert "mlplab resume sweep" in errors
    assert main(["resume", "sweep"]) == 0  # the remedy
    assert list(results("sweep")["status"]) == ["done"] * 4


def test_jobs_of_a_damaged_pack_train_again(packs_above_three, capfd):
    """The others stay as they are, and so does a pack of another version."""
    overrides = [*SMALL, "engine=eager", "activation=tanh,relu", "seed=0,1,2"]
    assert main(["train", "-m", *overrides, "hydra.sweep.dir=sweep"]) == 0
    before = results("sweep")
    damaged, other = sorted(Path("sweep/packs").iterdir())
    kept, content = Pack(other).ended, damaged.read_bytes()
    damaged.write_bytes(content[:-40])
    capfd.readouterr()
    assert main(["resume", "sweep"]) == 0
    errors = capfd.readouterr().err
    assert "(3 jobs from 0 to 2) that no other pack has train again; it is kept as" in errors
    pd.testing.assert_frame_equal(results("sweep"), before, check_exact=True)
    assert Pack(other).ended == kept
    assert sorted(path.suffix for path in Path("sweep/packs").iterdir()) == [
        ".damaged",
        ".safetensors",
        ".safetensors",
    ]
    data = load(other.read_bytes())
    other.write_bytes(save(data, {"format": "mlplab-pack-9", "index": "0"}))
    capfd.readouterr()
    assert main(["resume", "sweep"]) == 2
    assert "reads 'mlplab-pack-1'" in capfd.readouterr().err
    assert other.exists()


def test_links_are_not_followed(sweep, tmp_path):
    path = only_pack(sweep)
    elsewhere = tmp_path / "elsewhere.safetensors"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(LinkError):
        read_all(sweep)
    path.unlink()
    shutil.move(sweep / "packs", tmp_path / "packs")
    (sweep / "packs").symlink_to(tmp_path / "packs")
    with pytest.raises(LinkError):
        open_job(sweep, 1)


def changed(sweep, change):
    """Rewrite the pack of a sweep with other records."""
    records = [change(record) for record in read_all(sweep)]
    path = only_pack(sweep)
    path.write_bytes(pack_bytes(records))
    return path


HOSTILE = {
    "a file outside": lambda r: replace(
        r, outcome=replace(r.outcome, logged=replace(r.outcome.logged, artifacts={"../x": b"1"}))
    ),
    "other weights": lambda r: replace(r, outcome=replace(r.outcome, theta_P=torch.zeros(3))),
    "no preprocessing": lambda r: replace(r, preprocessing="{}"),
    "a negative number": lambda r: replace(r, number=-1 - r.number),
    "the same number": lambda r: replace(r, number=0),
    "no status": lambda r: replace(r, summary={**r.summary, "status": None}),
    "a list as a reason": lambda r: replace(r, summary={**r.summary, "reason": ["x"]}),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_pack_is_refused(change, sweep):
    path = changed(sweep, HOSTILE[change])
    with pytest.raises(DamagedFileError, match=path.name):
        open_job(sweep, 1)
    assert not (sweep / "jobs").exists() or not list((sweep / "jobs").iterdir())


def test_another_format_and_a_huge_header_are_refused(sweep):
    path = only_pack(sweep)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"mlplab-pack-1", b"mlplab-pack-2"))
    with pytest.raises(DamagedFileError, match="mlplab-pack-2"):
        read_all(sweep)
    path.write_bytes(struct.pack("<Q", 1 << 60) + data[8:])
    with pytest.raises(DamagedFileError):
        read_all(sweep)


def test_a_finished_sweep_is_left_unchanged(sweep):
    before = only_pack(sweep).stat().st_mtime_ns
    assert main(["resume", "sweep"]) == 0
    assert only_pack(sweep).stat().st_mtime_ns == before


def test_the_report_has_the_curves_of_packed_jobs(sweep):
    results = collect(read_plan(sweep), sweep)
    assert results.packed_history is not None
    (best, *_) = curves(results)["groups"]
    assert len(best["curves"]["train/loss"]["mean"]) > 2


def test_numbers_that_a_sweep_does_not_have(sweep):
    with pytest.raises(ConfigError, match="0 to 3"):
        mlplab.load("sweep:4")
    with pytest.raises(ConfigError, match="not a sweep"):
        mlplab.load(sweep / "packs", job=1)


VALUES = (-1, 10**30, 1.5, None, True, "../../x", "", [], {}, [[0]], {"all": "x"})


@pytest.mark.campaign("fuzz", small=True)
def test_whatever_a_hostile_pack_says_is_checked(sweep):
    """Each value of the JSON in a pack is replaced by others, with the right checksums."""
    path, rng = only_pack(sweep), np.random.default_rng(0)
    data = path.read_bytes()
    tensors, plan = load(data), read_plan(sweep)
    store = open_store(plan, sweep)
    cases = [
        (name, leaf, value)
        for name in ("index", "details")
        for leaf in leaves(json.loads(tensors[name].numpy().tobytes()))
        for value in VALUES
        if leaf[0] != "checksums"
    ]
    for number in rng.permutation(len(cases))[: size(120, 20_000)].tolist():
        name, leaf, value = cases[number]
        path.write_bytes(with_value(tensors, name, leaf, value))
        try:
            store = open_store(plan, sweep)
            planned = [number for number in store.packs.numbers if number < 4]
            for record, folders in read_packed(plan, store, planned):
                shutil.rmtree("written", ignore_errors=True)
                folders.write(Path("written"), record)
        except DamagedFileError:
            pass
        for option in ("--json", "--limit=9"):
            assert main(["runs", ".", "--jobs", option]) == 0
        assert {entry.name for entry in Path().iterdir()} <= {"sweep", "written"}, (leaf, value)


def leaves(tree, path=()):
    """The path of each value of a tree: keys and positions."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree[:2]):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from leaves(value, (*path, key))


def with_value(tensors, name, leaf, value):
    """The bytes of a pack in whose JSON another value stands."""
    contents = {key: json.loads(tensors[key].numpy().tobytes()) for key in ("index", "details")}
    node = contents[name]
    for key in leaf[:-1]:
        node = node[key]
    node[leaf[-1]] = value
    changed_tensors = dict(tensors)
    changed_tensors["details"] = json_tensor(contents["details"])
    if isinstance(contents["index"].get("checksums"), dict):
        checksums = contents["index"]["checksums"]
        checksums["details"] = checksum(changed_tensors["details"].numpy())
    changed_tensors["index"] = json_tensor(contents["index"])
    metadata = {"format": "mlplab-pack-1", "index": str(checksum(changed_tensors["index"].numpy()))}
    return save(changed_tensors, metadata)


def json_tensor(value):
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
