"""Section B of the fault matrix: disks, files and folders."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from building import make_session
from harness import FULL, HERE, QUICK, digest, record_measurement, row, run, size, start, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from pauses import ask_after_each_step, interrupt_at, pause, wait_until_paused

import mlplab
from mlplab import experiment
from mlplab.cli import main
from mlplab.config import settings_of_folder
from mlplab.config.builder import build
from mlplab.config.composition import compose
from mlplab.errors import CheckpointError, StateError
from mlplab.runs import checkpoints as checkpoints_module
from mlplab.runs import tree_file
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints, newest, read, steps
from mlplab.runs.compute_time import ComputeTime
from mlplab.runs.fingerprint import fingerprint
from mlplab.runs.log import log_to
from mlplab.training.checkpoint import restore

NO_TIME = ComputeTime()

OVERRIDES = [*QUICK, "tracking.checkpoint_seconds=0"]


def stopped(run_dir, overrides=OVERRIDES, at=20, keep=2):
    """A run that was interrupted after step `at`, with a checkpoint at each step."""
    with pytest.MonkeyPatch.context() as patched:
        interrupt_at(at, patched, signal.SIGTERM)
        patched.setattr(checkpoints_module, "NUM_RETAINED", keep)
        result = experiment.run(build(compose(overrides)), Path(run_dir), quiet=True)
    assert result.status == "interrupted"
    return Path(run_dir)


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    return stopped(tmp_path_factory.mktemp("stopped") / "run")


@pytest.fixture
def run_dir(stopped_run, tmp_path):
    """A copy of a run that was interrupted after step 20."""
    return Path(shutil.copytree(stopped_run, tmp_path / "run"))


def resumed(run_dir, **more):
    return experiment.resume(run_dir, settings_of_folder(run_dir), quiet=True, **more)


def limited(size_limit, *arguments):
    """The command with a limit on the size of its files: what a full disk does to it."""
    return run(*arguments, code=None, limits={"RLIMIT_FSIZE": size_limit})


@row("B1")
def test_b1_a_full_disk_while_saving(undisturbed):
    overrides = [
        "dataset=digits",
        "tracking=summary",
        "training.epochs=6",
        "model.hidden=[100]",
        "tracking.checkpoint_epochs=1",
    ]
    stopped("run", overrides, at=45)
    before = steps(Path("run/checkpoints"))
    done = limited(40_000, "resume", "run")
    assert done.returncode == 1, done.stderr
    assert "bytes are free" in done.stderr
    assert "mlplab resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert steps(Path("run/checkpoints")) == before
    assert not list(Path("run").rglob(".tmp-*"))
    assert newest(Path("run/checkpoints"))[0].step == before[0]
    assert main(["resume", "run"]) == 0
    assert digest(Path("run")) == undisturbed(overrides)


@row("B2")
def test_b2_a_full_disk_for_the_metrics_alone(undisturbed):
    overrides = [*QUICK, "training.epochs=200", "tracking.checkpoint_epochs=10"]
    done = limited(30_000, "train", *overrides, "hydra.run.dir=run")
    assert done.returncode == 1
    assert "File too large" in done.stderr
    text = Path("run/metrics.csv").read_text()
    assert text.endswith("\n")
    assert len({line.count(",") for line in text.splitlines()}) == 1
    assert main(["resume", "run"]) == 0
    assert digest(Path("run")) == undisturbed(overrides)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A finished run on a table of its own."""
    folder = tmp_path_factory.mktemp("finished")
    rows = [f"{i % 7},{i % 5},{'yes' if i % 3 else 'no'}" for i in range(60)]
    (folder / "t.csv").write_text("a,b,y\n" + "\n".join(rows) + "\n")
    mlplab.run(
        [
            "dataset=file",
            f"dataset.path={folder}/t.csv",
            "dataset.target=y",
            "training.epochs=2",
            "tracking=scalars",
            f"hydra.run.dir={folder}/run",
        ]
    )
    return folder


@row("B28")
@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("train dataset=file dataset.path=t.csv dataset.target=y hydra.run.dir=x", "x/"),
        ("predict run t.csv -o o.csv", "o.csv"),
        ("predict run t.csv -o o.parquet", "o.parquet"),
        ("report run", "run/"),
        ("rebuild-events run", "run/events"),
        pytest.param("export run --format torch -o e.pt2", "e.pt2", marks=pytest.mark.slow),
    ],
    ids=lambda value: value.split()[0] if " " in value else "",
)
def test_b28_a_full_disk_is_an_error_that_names_the_file(command, file, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    done = limited(100, *command.split())
    assert done.returncode == 1, done.stderr
    assert f"File too large: '{file}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob(".tmp-*"))


@row("B28")
@pytest.mark.slow
def test_b28_a_full_disk_for_the_database_of_a_search():
    pytest.importorskip("optuna", reason="pip install 'mlplab[search]'")
    search = ["sweep.trials=2", "sweep.sampler=random", "optimizer.lr=interval(0.001,0.1)"]
    overrides = [*QUICK, "training.epochs=1", "tracking=off", *search, "hydra.sweep.dir=sweep"]
    done = limited(60_000, "train", "-m", *overrides)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("mlplab: failed: OSError: ")
    assert "'sweep/study.db'" in done.stderr.splitlines()[-1]
    Path("sweep/study.db").write_text("no database, but a text")
    refused = limited(1 << 30, "resume", "sweep")
    assert refused.returncode == 2
    assert "sweep/study.db cannot be read: file is not a database" in refused.stderr


@row("B28")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has this file")
def test_b28_a_full_disk_for_the_log_alone(tmp_path, monkeypatch, capsys):
    """The training goes on, and the file is named once."""
    with monkeypatch.context() as patched:
        patched.setattr("mlplab.io.links._APPEND_FLAGS", os.O_WRONLY)
        patched.setattr("mlplab.io.links.refuse_links", lambda paths: None)
        (tmp_path / "log.txt").symlink_to("/dev/full")
        with log_to(tmp_path) as log:
            log.info("one")
            log.info("two")
    errors = capsys.readouterr().err
    assert errors.count(f"{tmp_path}/log.txt cannot be written: No space left on device") == 1
    (tmp_path / "log.txt").unlink()
    with log_to(tmp_path) as log:
        log.info("one")
    assert "INFO one" in (tmp_path / "log.txt").read_text()


@row("B4")
def test_b4_truncated_at_any_length(run_dir):
    folder = run_dir / "checkpoints"
    step = steps(folder)[0]
    draw = random.Random(0)
    refusals = 0
    for name in (f"state-{step:012d}.safetensors", f"state-{step:012d}.json", "history.bin"):
        whole = (folder / name).read_bytes()
        n = len(whole)
        used = read(folder, step).manifest["history"]["size"] if name == "history.bin" else n
        lengths = {
            0,
            1,
            22,
            100,
            n // 4,
            n // 2,
            n - 1000,
            n - 22,
            n - 1,
            *(draw.randrange(n) for _ in range(200)),
        }
        for length in sorted(length for length in lengths if 0 <= length < used):
            (folder / name).write_bytes(whole[:length])
            if name.endswith(".json") and length == n - 1:  # only its last line feed is gone
                continue
            with pytest.raises(CheckpointError):
                read(folder, step)
            refusals += 1
        (folder / name).write_bytes(whole)
    assert read(folder, step).step == step
    record_measurement("truncations of a checkpoint", failed_since=refusals, accepted=0)


@row("B5", "B6")
def test_b5_one_bit_and_b6_a_page_of_zeros(run_dir):
    folder, draw = run_dir / "checkpoints", random.Random(1)
    step = steps(folder)[0]
    name = f"state-{step:012d}.safetensors"
    padded = tree_file.parse((folder / name).read_bytes())
    padded["more"] = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    store = Checkpoints(folder, {})
    store.save(step + 1, 1, padded, [], NO_TIME)  # large enough for pages
    name = f"state-{step + 1:012d}.safetensors"
    whole = (folder / name).read_bytes()
    for _ in range(500):
        broken = bytearray(whole)
        broken[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        (folder / name).write_bytes(broken)
        with pytest.raises(CheckpointError):
            read(folder, step + 1)
    pages = len(whole) // 4096
    for _ in range(100):
        at = 4096 * draw.randrange(pages)
        broken = whole[:at] + bytes(4096) + whole[at + 4096 :]
        (folder / name).write_bytes(broken)
        with pytest.raises(CheckpointError):
            read(folder, step + 1)
    (folder / name).write_bytes(b"")
    with pytest.raises(CheckpointError):
        read(folder, step + 1)
    (folder / name).write_bytes(whole)
    assert read(folder, step + 1).step == step + 1
    record_measurement("bit flips", failed_since=500, accepted=0)
    record_measurement("zeroed pages", failed_since=100, accepted=0)


@row("B7")
def test_b7_the_newest_is_damaged(run_dir, undisturbed, capsys):
    folder = run_dir / "checkpoints"
    latest, before = steps(folder)
    broken = folder / f"state-{latest:012d}.safetensors"
    broken.write_bytes(broken.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=str(latest)):
        resumed(run_dir, step=latest)
    assert main(["resume", str(run_dir), "--step", str(latest)]) == 2
    assert resumed(run_dir).status == "done"
    log = (run_dir / "log.txt").read_text()
    assert broken.name in log
    assert f"from the checkpoint of step {before}" in log
    assert digest(run_dir) == undisturbed(OVERRIDES)


@row("B8")
def test_b8_all_are_damaged(run_dir, capfd):
    for path in (run_dir / "checkpoints").glob("state-*.safetensors"):
        path.write_bytes(b"x" * path.stat().st_size)
    before = tree(run_dir)
    assert main(["resume", str(run_dir)]) == 2
    assert "does not restart from the" in capfd.readouterr().err
    assert tree(run_dir) == before


@row("B8")
@pytest.mark.parametrize(
    ("pattern", "content", "fault"),
    [
        ("history.bin", None, "history.bin is missing."),
        ("state-*.safetensors", None, ".safetensors is missing."),
        ("state-*.json", b"", ".json is damaged: it is not JSON"),
        ("state-*.json", b"[1]", ".json is damaged: "),
    ],
)
def test_b8_the_message_names_the_damaged_file(run_dir, capfd, pattern, content, fault):
    for path in (run_dir / "checkpoints").glob(pattern):
        path.unlink() if content is None else path.write_bytes(content)
    assert main(["resume", str(run_dir)]) == 2
    message = capfd.readouterr().err
    assert fault in message
    assert not re.search(r"\b[A-Z]\w+Error\b", message)


@row("B9")
def test_b9_left_over_files_of_a_dead_writer(run_dir, undisturbed):
    stale = run_dir / "checkpoints" / ".tmp-1-00000000"
    stale.write_bytes(b"half")
    assert resumed(run_dir).status == "done"
    assert not stale.exists()
    assert digest(run_dir) == undisturbed(OVERRIDES)


CHANGED = {
    "model.hidden=[5]": "model.hidden",
    "activation=relu": "activation.name",
    "optimizer=sgd": "optimizer.name",
    "optimizer.lr=0.5": "optimizer.lr",
    "seed=9": "seed",
    "dataset.num_samples=64": "dataset.num_samples",
    "dataset.test=0.3": "dataset.test",
    "dtype=float64": "dtype",
    "training.batch_size=8": "training.batch_size",
    "schedule=cosine": "schedule.name",
    "loss=hinge": "loss.name",
    "model.dropout=0.5": "model.dropout",
}


@row("B10")
@pytest.mark.parametrize("override", CHANGED)
def test_b10_a_checkpoint_of_another_configuration(override, run_dir, capfd):
    """The stored configuration was edited by hand."""
    from mlplab.config.edit_stored import apply_overrides
    from mlplab.config.stored import stored_config
    from mlplab.io.files import write_yaml

    old = read(run_dir / "checkpoints", steps(run_dir / "checkpoints")[0]).manifest["config"][
        CHANGED[override]
    ]
    changed = apply_overrides(stored_config(run_dir), [override], run_dir)
    write_yaml(run_dir / "config.yaml", changed.config)
    for flags in ([], ["--allow-config-change"]):
        assert main(["resume", str(run_dir), *flags]) == 2
        errors = capfd.readouterr().err
        assert CHANGED[override] in errors
        assert str(old) in errors
    assert main(["resume", str(run_dir), override]) == 2


@row("B10")
def test_b10_what_may_change(run_dir, undisturbed):
    assert main(["resume", str(run_dir), "training.epochs=14", "tracking.checkpoint_epochs=3"]) == 0
    assert digest(run_dir) == undisturbed([*OVERRIDES, "training.epochs=14"])


@row("B11")
@pytest.mark.parametrize("change", ["a cell", "the order", "a row"])
def test_b11_other_data(change, run_dir, monkeypatch, capfd):
    from mlplab.data import toy

    real = toy.Xor.make

    def make(self, rng):
        import dataclasses

        table = real(self, rng)
        x, y = table.x.copy(), table.y.copy()
        if change == "a cell":
            x[3, 1] += 1e-6
        elif change == "the order":
            x[[0, 1]], y[[0, 1]] = x[[1, 0]], y[[1, 0]]
        else:
            x, y = np.concatenate([x, x[:1]]), np.concatenate([y, y[:1]])
        return dataclasses.replace(table, x=x, y=y)

    monkeypatch.setattr(toy.Xor, "make", make)
    assert main(["resume", str(run_dir)]) == 2
    assert "data changed" in capfd.readouterr().err


GOLDEN = HERE / "golden"


@row("B12")
@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_b12_golden_checkpoints_are_continued(name, tmp_path):
    """Checkpoints of every version that was ever released, continued to the numbers that version
    came to.
    """
    shutil.copytree(GOLDEN / name, tmp_path / name)
    wanted = json.loads((GOLDEN / name / "wanted.json").read_text())
    result = resumed(tmp_path / name)
    assert result.status == "done"
    assert result.history["train/loss"][-1] == pytest.approx(wanted["train/loss"], rel=1e-4)
    stored = json.loads(next((GOLDEN / name / "checkpoints").glob("state-*.json")).read_text())[
        "fingerprint"
    ]
    now = fingerprint(torch.device("cpu"), "float32", 1, "eager")
    # else the last bits may differ
    if all(stored[key] == now[key] for key in ("cpu", "torch", "threads")):
        assert digest(tmp_path / name) == wanted["digest"]


@row("B13")
def test_b13_another_format(run_dir, capfd):
    for path in (run_dir / "checkpoints").glob("state-*.json"):
        path.write_text(path.read_text().replace("mlplab-checkpoint-2", "mlplab-checkpoint-1"))
    assert main(["resume", str(run_dir)]) == 2
    assert "mlplab-checkpoint-1" in capfd.readouterr().err


@row("B14", "A12")
@pytest.mark.parametrize("strict", [False, True])
def test_b14_saved_on_another_machine(strict, run_dir, capfd):
    for path in (run_dir / "checkpoints").glob("state-*.json"):
        manifest = json.loads(path.read_text())
        manifest["fingerprint"] |= {"device": "NVIDIA H200", "cuda": "13.0"}
        path.write_text(json.dumps(manifest))
    code = main(["resume", str(run_dir), f"deterministic={strict}"])
    if strict:
        assert code == 2
        assert "NVIDIA H200 -> cpu" in capfd.readouterr().err
    else:
        assert code == 0
        assert json.loads((run_dir / "summary.json").read_text())["resume_exact"] is False
        assert "NVIDIA H200 -> cpu" in (run_dir / "log.txt").read_text()


@row("B14")
def test_b14_another_type_of_numbers(run_dir):
    saved = newest(run_dir / "checkpoints")[0]
    settings = build(compose([*OVERRIDES, "dtype=float64"]))
    (group,) = make_session([settings]).groups

    with pytest.raises(StateError, match=r"theta is torch\.float32"):
        restore(group, saved.tree["loop"], [])


@row("B15")
def test_b15_two_processes_in_one_folder():
    arguments = [*QUICK, "hydra.run.dir=run", "tracking.checkpoint_seconds=0"]
    first = start("train", *arguments, *pause(checkpoints=1))
    wait_until_paused(first)
    for second in (["train", *arguments], ["resume", "run"]):
        done = run(*second, code=2)
        assert "in use by" in done.stderr or "not empty" in done.stderr
    first.kill()
    first.communicate()
    third = start("resume", "run", *pause(step=12, name="third"))
    wait_until_paused(third, name="third")
    third.send_signal(signal.SIGTERM)
    third.communicate()
    assert third.returncode == 143


@row("B17")
def test_b17_the_folder_is_deleted_while_it_trains(monkeypatch, capfd):
    real = CheckpointCallback.save

    def save(self, session, group):
        if group.stepper.step == 10:
            shutil.rmtree("run")
        real(self, session, group)

    monkeypatch.setattr(CheckpointCallback, "save", save)
    ask_after_each_step(monkeypatch)
    assert main(["train", *OVERRIDES, "hydra.run.dir=run"]) == 1
    assert "No such file" in capfd.readouterr().err
    assert not Path("run").exists()


@row("B18")
def test_b18_a_temporary_folder_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/dev/shm")
    real, seen = os.replace, []
    monkeypatch.setattr(
        os, "replace", lambda a, b: (seen.append((Path(a).parent, Path(b).parent)), real(a, b))[1]
    )
    ask_after_each_step(monkeypatch)
    mlplab.run(OVERRIDES, tmp_path / "run")
    assert len(seen) > 20
    assert all(a == b for a, b in seen)


NAMES = [
    "ünï",
    "日本",
    "with space",
    "it's",
    'say "x"',
    "100%",
    "a=b",
    "a,b",
    "a#b",
    "a&b",
    "a;b",
    "$HOME",
    "`x`",
    "(x)",
    "[x]",
    "{x}",
    "a+b",
    "a@b",
    "a!b",
    "a^b",
    "-",
    "x" * 200,
    "a\nb",
    ".hidden",
]


REPORTED_NAMES = ("with space", "a=b", "{x}", "a\nb")
"""Of which the default tier makes a report and a sweep too."""


@row("B19")
@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("one_picture")
def test_b19_odd_names_work_or_are_refused(name, capfd):
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    code = main(["train", *QUICK, f"name='{quoted}'"])
    captured = capfd.readouterr()
    if code == 2:
        assert "Traceback" not in captured.err
        assert not Path("outputs").exists()
        return
    assert code == 0
    folder = Path(captured.out.splitlines()[-1])
    assert folder.parent.parent == Path("outputs/runs")
    assert main(["resume", str(folder)]) == 0
    if not FULL and name not in REPORTED_NAMES:
        return
    assert main(["report", str(folder)]) == 0
    assert main(["train", "-m", *QUICK, "seed=0,1", f"name='{quoted}'"]) == 0
    sweep = Path(capfd.readouterr().out.splitlines()[-1])
    assert sweep.parent.parent == Path("outputs/sweeps")
    assert main(["resume", str(sweep)]) == 0


@row("B19")
def test_b19_a_value_of_300_characters():
    assert (
        main(
            ["train", "-m", *QUICK, f"name={'n' * 100}", "seed=0,1", "hydra.sweep.dir=" + "d" * 200]
        )
        == 0
    )
    assert Path("d" * 200, "results.csv").exists()


@row("B21")
@pytest.mark.parametrize("planted", ["history.bin", "state", ".lock"])
def test_b21_planted_links_are_not_followed(planted, run_dir):
    sentinel = run_dir.parent / "sentinel"
    sentinel.write_bytes(b"mine")
    if planted == ".lock":
        (run_dir / ".lock").unlink()
        (run_dir / ".lock").symlink_to(sentinel)
    elif planted == "history.bin":
        (run_dir / "checkpoints" / "history.bin").unlink()
        (run_dir / "checkpoints" / "history.bin").symlink_to(sentinel)
    else:
        for path in (run_dir / "checkpoints").glob("state-*.safetensors"):
            path.unlink()
            path.symlink_to(sentinel)
    assert main(["resume", str(run_dir)]) in (1, 2)
    assert sentinel.read_bytes() == b"mine"


def write_runs(count):
    """`count` run folders below outputs/, and five more summaries that are damaged."""
    config = (
        "optimizer: {name: adam, lr: 0.01}\n"
        "model: {name: mlp, hidden: [6, 6]}\n"
        "seed: 3\n" + "".join(f"k{i}: {i}\n" for i in range(60))
    )
    for i in range(count):
        folder = Path(f"outputs/runs/r{i % 50}/{i}")
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(config)
        summary = {"status": "done", "name": "r", "seed": i, "epochs": 3}
        summary["metrics"] = {"test/accuracy": i / count}
        (folder / "summary.json").write_text(json.dumps(summary))
    for i in range(5):
        Path(f"outputs/runs/r{i}/{i}/summary.json").write_text("{dam")


@row("B22")
def test_b22_many_runs_are_listed(capfd):
    write_runs(150)
    for arguments in ([], ["--where", "optimizer=adam"], ["--sort", "test/accuracy"]):
        for _ in range(2):  # the second time from the index
            assert main(["runs", *arguments, "--limit", "1"]) == 0
            captured = capfd.readouterr()
            assert "skipped 5 with a damaged summary.json" in captured.err
            assert "145 of 150" in captured.out
    assert main(["runs", "--where", "optimizer=sgd"]) == 0
    assert "0 of 150" in capfd.readouterr().out


@row("B22")
@pytest.mark.campaign("timing")
@pytest.mark.timeout(900)
def test_b22_ten_thousand_runs_are_listed_in_seconds(capfd):
    count, times = 10_000, []
    write_runs(count)
    filtered = ["--where", "optimizer=adam"]
    for arguments in ([], [], filtered, filtered, ["--sort", "test/accuracy", "--limit", "1"]):
        began = time.monotonic()
        assert main(["runs", *arguments]) == 0
        times.append(time.monotonic() - began)
    assert f"{count - 5} of {count}" in capfd.readouterr().out
    record_measurement(
        "10,000 runs listed",
        list_seconds=round(times[1], 2),
        first_by_configuration=round(times[2], 2),
        again=round(times[3], 2),
    )
    assert times[3] < max(5.0, times[2])


@row("B24")
@pytest.mark.campaign("fuzz", small=True)
def test_b24_few_file_descriptors():
    overrides = [*QUICK, "training.epochs=2", f"seed=range({size(20, 300)})", "tracking=scalars"]
    run("train", "-m", *overrides, "hydra.sweep.dir=sweep", limits={"RLIMIT_NOFILE": 64})


@row("B26")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["save", "crash", "resume", "damage"]), max_size=25))
def test_b26_pruning_never_takes_the_last_good_one(tmp_path_factory, actions):
    folder = tmp_path_factory.mktemp("c")
    store, step, good = Checkpoints(folder, {}), 0, set()
    for action in actions:
        if action == "save":
            step += 1
            store.save(
                step,
                step,
                {"x": torch.tensor([step])},
                [{"s": torch.tensor([step])}],
                ComputeTime(),
            )
            good.add(step)
        elif action == "damage" and len(good & set(steps(folder))) > 1:
            path = folder / f"state-{steps(folder)[0]:012d}.safetensors"
            path.write_bytes(path.read_bytes()[:-1])
            good.discard(steps(folder)[0])
        elif action in ("crash", "resume") and steps(folder):
            store.close()
            store = Checkpoints(folder, {})
            saved, _ = newest(folder)
            store.resume(saved)
            step = saved.step
            good = {s for s in good if s <= step}
        if good:
            assert newest(folder)[0].step == max(good)
        assert len(steps(folder)) <= checkpoints_module.NUM_RETAINED
    store.close()


@row("A7")
@pytest.mark.slow
@pytest.mark.campaign("kills", small=True)
@pytest.mark.parametrize("one_picture", ["decision"], indirect=True)
@pytest.mark.usefixtures("one_picture")
def test_a_save_has_no_effect_on_the_run(tmp_path):
    """Level D3: checkpoints at every step, now and then, or never, tracking of any kind: the same
    bits. By default every other combination.
    """
    digests = set()
    for i, overrides in enumerate(
        (
            ["tracking.checkpoint_seconds=0"],
            ["tracking.checkpoint_seconds=null"],
            ["tracking.checkpoint_epochs=1"],
            ["tracking.checkpoint_epochs=7"],
            ["tracking=full"],
            ["tracking=scalars"],
            ["tracking=off"],
            ["tracking=full", "tracking.checkpoint_seconds=0"],
        )[:: size(2, 1)]
    ):
        mlplab.run([*QUICK, "model.dropout=0.2", *overrides], tmp_path / str(i))
        digests.add(
            digest(tmp_path / str(i), ["weights.safetensors", "checkpoints/last.safetensors"])
        )
    assert len(digests) == 1
