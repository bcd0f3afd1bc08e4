"""Section A of the fault matrix: the process dies, or is asked to."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from harness import (
    HERE,
    QUICK,
    digest,
    python_command,
    record_measurement,
    row,
    run,
    start,
    tree,
    wait_for,
)
from pauses import ask_after_each_step, pause, plugin, wait_until_paused

import mlplab
from mlplab import experiment
from mlplab.cli import main
from mlplab.config.builder import build
from mlplab.config.composition import compose
from mlplab.io import files
from mlplab.runs import checkpoints as checkpoints_module
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints, newest
from mlplab.runs.compute_time import ComputeTime
from mlplab.runs.signals import Interrupted, Signals
from mlplab.training import Session

NO_TIME = ComputeTime()

EACH_STEP = ["tracking.checkpoint_seconds=0"]


def kill(kills, *more):
    done = subprocess.run(
        [sys.executable, str(HERE / "killing.py"), "--kills", str(kills), *more],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    measurements = json.loads(done.stdout.splitlines()[-1])
    kind = "in-place control" if "--control" in more else "single run"
    if members := measurements["members"]:
        kind = f"population of {members}, seed {measurements['seed']}"
    record_measurement(f"SIGKILL, {kind}", **measurements)
    return measurements


@row("A1", "A2")
@pytest.mark.campaign("kills")
@pytest.mark.parametrize(
    ("members", "kills", "seed"),
    [(0, 500, 0), (8, 250, 0), (8, 250, 1)],
    ids=["single", "population", "population again"],  # halves, for two workers
)
@pytest.mark.timeout(3000)
def test_a1_killed_at_random_moments(members, kills, seed):
    options = ["--members", str(members), "--longest", "0.9"] if members else []
    measurements = kill(kills, "--seed", str(seed), *options)
    assert measurements["kills"] >= kills
    assert measurements["lost"] == 0, measurements
    assert measurements["differing"] == 0, measurements
    # otherwise the test would prove nothing
    assert measurements["inside a write"] >= measurements["kills"] / 2
    assert measurements["attempts"] < 200 * measurements["runs"]  # each child makes progress


@row("A2")
@pytest.mark.campaign("kills")
@pytest.mark.timeout(1000)
def test_a2_the_control_that_overwrites_loses_some():
    assert kill(100, "--control", "--longest", "0.25")["lost"] > 0


CALLS = ("open", "fsync", "replace", "unlink", "write", "ftruncate", "close")


class Crash(BaseException):
    """The process ends here."""


def crashing(monkeypatch, at):
    """Every call of os that saving makes is counted; the one with number `at` is the last. Returns
    the counter.
    """
    counter = [0]

    def wrapped(real):
        def call(*arguments, **named):
            counter[0] += 1
            if counter[0] == at:
                raise Crash
            if counter[0] > at > 0:
                raise Crash  # nothing that tidies up runs in a process that is dead
            return real(*arguments, **named)

        return call

    class System:
        def __getattr__(self, name):
            return getattr(os, name)

    system = System()
    for name in CALLS:
        setattr(system, name, wrapped(getattr(os, name)))

    def fdopen(descriptor, mode):
        class File:
            def __enter__(self):
                return self

            def __exit__(self, *error):
                os.close(descriptor)

            def write(self, data):
                half = len(data) // 2  # a crash may fall into the middle of a file
                system.write(descriptor, data[:half])
                system.write(descriptor, data[half:])

            def flush(self):
                pass

            def fileno(self):
                return descriptor

        return File()

    system.fdopen = fdopen
    monkeypatch.setattr(files, "os", system)
    return counter


@row("A3")
def test_a3_a_crash_at_every_call_of_a_save(tmp_path, monkeypatch):
    import torch

    def saved_until(folder, crash_at):
        folder.mkdir()
        store = Checkpoints(folder, {})
        for step in (1, 2, 3):
            store.save(
                step,
                step,
                {"theta": torch.full((50,), float(step))},
                [{"step": torch.tensor([step])}],
                NO_TIME,
            )
        counter = crashing(monkeypatch, crash_at)
        try:
            store.save(
                4,
                4,
                {"theta": torch.full((50,), 4.0)},
                [{"step": torch.tensor([4])}],
                ComputeTime(),
            )
        except Crash:
            pass
        finally:
            monkeypatch.setattr(files, "os", os)
        return counter[0]

    calls = saved_until(tmp_path / "whole", 0)
    assert calls >= 12
    seen = set()
    for n in range(1, calls + 1):
        folder = tmp_path / str(n)
        saved_until(folder, n)
        saved, _ = newest(folder)
        assert saved.step in (3, 4)
        assert (saved.tree["theta"] == saved.step).all()
        assert [int(row_values["step"]) for row_values in saved.history] == list(
            range(1, saved.step + 1)
        )
        seen.add(saved.step)
        store = Checkpoints(folder, {})  # and it goes on from there
        store.resume(saved)
        store.save(
            9, 9, {"theta": torch.full((50,), 9.0)}, [{"step": torch.tensor([9])}], ComputeTime()
        )
        assert newest(folder)[0].step == 9
        assert not list(folder.glob(".tmp-*"))
    assert seen == {3, 4}
    record_measurement("a crash at every system call of a save", calls=calls, lost=0)


@row("A4")
def test_a4_durable_before_visible_before_pruned(tmp_path, monkeypatch):
    import torch

    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os,
            name,
            lambda *a, real=real, name=name: (order.append((name, str(a[-1]))), real(*a))[1],
        )
    real_unlink = Path.unlink
    monkeypatch.setattr(
        Path,
        "unlink",
        lambda self, **k: (order.append(("unlink", self.name)), real_unlink(self, **k))[1],
    )
    store = Checkpoints(tmp_path, {})
    for step in (1, 2, 3):
        order.clear()
        store.save(step, step, {"x": torch.zeros(3)}, [{"s": torch.tensor([step])}], NO_TIME)
    names = [name if name != "replace" else Path(path).suffix for name, path in order]
    # history; state: file, rename, folder; manifest: file, rename, folder; then the oldest, its
    # manifest first
    assert names == [
        "fsync",
        "fsync",
        ".safetensors",
        "fsync",
        "fsync",
        ".json",
        "fsync",
        "unlink",
        "unlink",
    ]
    assert [path for name, path in order if name == "unlink"] == [
        "state-000000000001.json",
        "state-000000000001.safetensors",
    ]


@row("A5", "A6", "A12")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a5_a_signal_ends_it_between_two_steps(name, undisturbed):
    """It stops after the step that it is in, and goes on to the bits of an undisturbed run."""
    number = getattr(signal, name)
    process = start("train", *QUICK, "hydra.run.dir=run", *pause(step=20))
    paused = wait_until_paused(process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    command = f"mlplab resume {' '.join(plugin())} run"
    assert output.splitlines()[-2:] == [f"continue with: {command}", "run"]
    summary = json.loads(Path("run/summary.json").read_text())
    assert (summary["status"], summary["signal"]) == ("interrupted", number)
    assert f"{name}: stopped after step {paused.step}" in Path("run/log.txt").read_text()
    assert newest(Path("run/checkpoints"))[0].step == paused.step
    assert main(["resume", "run"]) == 0
    assert digest(Path("run")) == undisturbed(QUICK)


@row("A5", "A1")
@pytest.mark.campaign("kills")
@pytest.mark.timeout(2000)
@pytest.mark.parametrize(("engine", "epochs"), [("eager", 300), ("native", 100_000)])
def test_a5_random_sigterms_and_a_pristine_result(engine, epochs, undisturbed):
    """The lengths make a training of several seconds with either engine."""
    overrides = ["experiment=radial_6_6", "tracking=summary", f"engine={engine}"]
    overrides += [f"training.epochs={epochs}", "training.evaluate_every=50"]
    expected = undisturbed(overrides)
    draw, signals, slowest = random.Random(1), 0, 0.0
    while signals < 25:
        shutil.rmtree("run", ignore_errors=True)
        process = start("train", *overrides, "hydra.run.dir=run")
        while True:
            wait_for(
                lambda process=process: Path("run/log.txt").exists() or process.poll() is not None
            )
            if signals < 25:
                time.sleep(draw.uniform(0, 1.5))
                sent = time.monotonic()
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=20)
                slowest = max(slowest, time.monotonic() - sent)
            else:  # those were enough; it may come to its end
                process.communicate(timeout=60)
            if process.returncode == 0:
                break
            # A signal may meet the process before training begins or after it has ended; then
            # Python's own end is the right one.
            assert process.returncode in (143, -signal.SIGTERM), process.returncode
            signals += 1
            if not Path("run/config.yaml").exists():
                break
            process = start("resume", "run")
            time.sleep(1.2)
        if process.returncode == 0:
            assert digest(Path("run")) == expected
    assert slowest < 4
    record_measurement(
        f"random SIGTERMs, {engine}",
        signals=signals,
        slowest_seconds=round(slowest, 2),
        wrong_codes=0,
        differing=0,
    )


@row("A6")
def test_a6_a_second_ctrl_c_leaves_at_once(monkeypatch, tmp_path, request):
    """The second comes while the first is being honored: inside the save."""
    # a shell starts its background jobs with SIGINT ignored, which trainings respect
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    real, sent, saved_at_leisure = CheckpointCallback.save, [], []

    def save(self, session, group):
        if self.signals.received is not None and not sent:
            sent.append(group.stepper.step)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)  # the second signal ends this
            saved_at_leisure.append(group.stepper.step)
        return real(self, session, group)

    monkeypatch.setattr(CheckpointCallback, "save", save)
    real_evaluated = Session._evaluated

    def evaluated(self, group, *arguments):
        real_evaluated(self, group, *arguments)
        if group.stepper.step > 20 and not sent:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Session, "_evaluated", evaluated)
    ask_after_each_step(monkeypatch)  # and save there
    result = mlplab.run([*QUICK, "tracking.checkpoint_seconds=0"], tmp_path / "run")
    assert saved_at_leisure == []
    assert result.status == "interrupted"
    saved, complaints = newest(tmp_path / "run" / "checkpoints")
    assert complaints == []
    assert saved.step == sent[0] - 1


@row("A7")
@pytest.mark.parametrize("phase", ["data", "evaluation", "save", "end"])
def test_a7_a_signal_in_every_phase(phase, monkeypatch, undisturbed):
    from mlplab.runs.record import Record

    overrides = [*QUICK, "tracking.checkpoint_seconds=0"]
    expected = undisturbed(overrides)
    once = []

    def with_signal(real):
        def call(*arguments, **named):
            if not once:
                once.append(1)
                os.kill(os.getpid(), signal.SIGTERM)
            return real(*arguments, **named)

        return call

    target = {
        "data": (experiment, "prepare_members"),
        "evaluation": (Session, "_evaluated"),
        "save": (checkpoints_module, "write_bytes_atomic"),
        "end": (Record, "finish"),
    }[phase]
    monkeypatch.setattr(target[0], target[1], with_signal(getattr(*target)))
    run_dir = Path("run")
    if phase == "data":  # nothing was begun, and nothing is left
        with pytest.raises(Interrupted):
            experiment.run(build(compose(overrides)), run_dir, quiet=True)
        assert not run_dir.exists()
        return
    result = experiment.run(build(compose(overrides)), run_dir, quiet=True)
    assert result.status == ("done" if phase == "end" else "interrupted")
    assert not list(run_dir.rglob(".tmp-*"))
    again = experiment.resume(run_dir, build(compose(overrides)), quiet=True)
    assert again.status == "done"
    assert digest(run_dir) == expected


@row("A8")
@pytest.mark.parametrize("closed", ["output", "errors", "both"])
def test_a8_nobody_reads_the_output(closed, undisturbed):
    reading, writing = os.pipe()
    os.close(reading)
    streams = {
        "stdout": writing if closed != "errors" else None,
        "stderr": writing if closed != "output" else None,
    }
    process = start("train", *QUICK, "hydra.run.dir=run", **streams)
    os.close(writing)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert digest(Path("run")) == undisturbed(QUICK)


@row("A8")
@pytest.mark.slow
def test_a8_the_interpreter_ends_well_when_nobody_reads(undisturbed):
    """Python flushes its streams at exit, where a closed pipe costs the exit code of many tools."""
    reading, writing = os.pipe()
    os.close(reading)
    arguments = python_command("train", *QUICK, "hydra.run.dir=run")
    done = subprocess.run(arguments, stdout=writing, stderr=writing, check=False, timeout=100)
    os.close(writing)
    assert done.returncode == 0
    assert digest(Path("run")) == undisturbed(QUICK)


@row("A9")
def test_a9_not_the_main_thread(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(mlplab.run(QUICK, tmp_path / "run")))
    thread.start()
    thread.join()
    assert results[0].status == "done"
    assert (tmp_path / "run" / "log.txt").read_text().count("not the main thread") == 1


@row("A10")
def test_a10_earlier_handlers_are_called_and_come_back(tmp_path, monkeypatch):
    seen = []
    before = {
        n: signal.getsignal(n)
        for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    }
    signal.signal(signal.SIGTERM, lambda *_: seen.append("ours"))
    ours = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.received is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.received == signal.SIGTERM
        assert seen == ["ours"]
        assert signal.getsignal(signal.SIGTERM) is ours
        monkeypatch.setattr(Session, "run", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            mlplab.run(QUICK, tmp_path / "run")
        assert signal.getsignal(signal.SIGTERM) is ours
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert all(signal.getsignal(n) is handler for n, handler in before.items())


@row("A14")
def test_a14_the_configuration_is_frozen():
    """A file of one's own changes between the interruption and the resumption: the run goes on with
    what it began with.
    """
    Path("own/dataset").mkdir(parents=True)
    mine = Path("own/dataset/mine.yaml")
    mine.write_text("defaults: [xor, _self_]\nnoise: 0.05\nnum_samples: 60\n")
    overrides = ["--config-dir", "own", "dataset=mine", "tracking=summary", "training.epochs=20"]
    run("train", *overrides, "hydra.run.dir=one")
    run("train", *overrides, "training.epochs=10", "hydra.run.dir=two")
    mine.write_text("defaults: [xor, _self_]\nnoise: 0.4\nnum_samples: 60\n")
    run("resume", "two", "training.epochs=20")
    assert digest(Path("one")) == digest(Path("two"))


@row("A15")
def test_a15_killed_from_outside():
    process = start("train", *QUICK, "hydra.run.dir=run", *pause(checkpoints=1), *EACH_STEP)
    wait_until_paused(process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert "unfinished" in run("runs", ".").stdout
    second = start("resume", "run", *pause(step=12, name="second"))
    paused = wait_until_paused(second, name="second")
    log = Path("run/log.txt").read_text()
    assert "from the checkpoint of step" in log
    assert "was killed" in log
    second.send_signal(signal.SIGTERM)
    second.communicate()
    assert second.returncode == 143
    assert newest(Path("run/checkpoints"))[0].step == paused.step


@row("F21")
def test_f21_nothing_is_left_to_do():
    run("train", *QUICK, "hydra.run.dir=run")
    before = tree(Path("run"))
    run("resume", "run")
    assert tree(Path("run")) == before
    run("train", "-m", *QUICK, "seed=0,1,2", "hydra.sweep.dir=sweep")
    jobs = tree(Path("sweep/jobs"))
    run("resume", "sweep")
    assert tree(Path("sweep/jobs")) == jobs
