"""Section F of the fault matrix: sweeps on one machine."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import resource
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch
from building import build_component, make_settings
from harness import FULL, QUICK, digest, record_measurement, row, run, size, start
from pauses import pause, plugin, wait_until_paused

import mlplab
from mlplab.cli import main
from mlplab.optimizers import OPTIMIZERS
from mlplab.sweeps.plan import memory
from mlplab.training import session, train_population

POPULATION = [*QUICK, "tracking.checkpoint_epochs=2", "seed=range(4)"]


@pytest.fixture(scope="module")
def undisturbed_population(tmp_path_factory):
    """The folder of an undisturbed sweep of POPULATION."""
    folder = tmp_path_factory.mktemp("undisturbed") / "sweep"
    assert main(["train", "-m", *POPULATION, f"hydra.sweep.dir={folder}"]) == 0
    return folder


@row("F2", "F4")
@pytest.mark.slow
def test_f2_a_job_that_kills_the_process_costs_no_other_its_result():
    """A segmentation fault crashes the process; resume keeps what was saved, and once the component
    is repaired no job is missing.
    """
    Path("components.py").write_text(
        "import ctypes, os\n"
        "from dataclasses import dataclass\n"
        "from mlplab.config import register\n"
        "from mlplab.network.activations import Activation\n"
        "@register('activation', 'fatal')\n"
        "@dataclass(frozen=True)\n"
        "class Fatal(Activation):\n"
        "    '''Segfaults.'''\n"
        "    def __call__(self, x):\n"
        "        if x.numel() > 64 and not os.path.exists('repaired'):\n"
        "            ctypes.string_at(0)\n"
        "        return x.tanh()\n"
    )
    overrides = [
        "--plugin",
        "components.py",
        *QUICK,
        "activation=tanh,fatal,relu",
        "seed=0,1",
        "engine=eager",
        "hydra.sweep.dir=sweep",
    ]
    assert run("train", "-m", *overrides, code=None).returncode < 0
    assert {path.name for path in Path("sweep/jobs").iterdir()} == {"0", "1"}
    Path("repaired").touch()
    run("resume", "sweep", "--plugin", "components.py")
    assert list(pd.read_csv("sweep/results.csv")["status"]) == ["done"] * 6


@row("F3", "A5")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR2"])
def test_f3_a_signal_in_the_middle_of_a_population(name, undisturbed_population):
    """The population is saved as a whole and resumes bit for bit."""
    process = start("train", "-m", *POPULATION, "hydra.sweep.dir=sweep", *pause(step=25))
    paused = wait_until_paused(process)
    process.send_signal(getattr(signal, name))
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name), errors
    assert f"finish it with: mlplab resume {' '.join(plugin())} sweep" in output
    assert not list(Path("sweep/jobs").iterdir())
    done = run("resume", "sweep", *plugin())
    assert f"4 jobs resume at step {paused.step}" in done.stderr
    for n in range(4):
        assert digest(Path(f"sweep/jobs/{n}")) == digest(undisturbed_population / f"jobs/{n}")
    assert not Path("sweep/.checkpoints").exists() or not list(
        Path("sweep/.checkpoints").rglob("*")
    )


MIXED = [
    *QUICK,
    "model.hidden=3,4-4,5",
    "activation=tanh,relu",
    "training.epochs=12,30",
    "tracking.checkpoint_epochs=4",
    "engine=native",
]


@pytest.fixture(scope="module")
def undisturbed_mixed(tmp_path_factory):
    """The folder of an undisturbed sweep of MIXED."""
    folder = tmp_path_factory.mktemp("undisturbed") / "mixed"
    assert main(["train", "-m", *MIXED, f"hydra.sweep.dir={folder}"]) == 0
    return folder


@row("F3", "F6", "A5")
@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGKILL])
def test_f3_a_sweep_of_mixed_widths_is_stopped_and_resumed(received, undisturbed_mixed):
    """Finished jobs stay, what has begun continues from its checkpoint, and nothing is lost."""
    stop = pause(checkpoints=3, step=5)
    process = start("train", "-m", *MIXED, "hydra.sweep.dir=sweep", *stop)
    paused = wait_until_paused(process)
    process.send_signal(received)
    process.communicate(timeout=60)
    finished = {path: path.stat().st_mtime_ns for path in Path("sweep/jobs").glob("*/summary.json")}
    assert len(finished) < 12
    done = run("resume", "sweep", *plugin())
    assert "resume at step" in done.stderr
    if received == signal.SIGTERM:
        assert f"resume at step {paused.step}" in done.stderr
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    for n in range(12):
        assert digest(Path(f"sweep/jobs/{n}")) == digest(undisturbed_mixed / f"jobs/{n}")
    ours, theirs = (
        pd.read_csv(f"{folder}/results.csv").drop(columns=["seconds", "cpu_seconds"])
        for folder in ("sweep", undisturbed_mixed)
    )
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert not list(Path("sweep").glob(".checkpoints/**/*"))


@row("F6")
def test_f6_a_driver_killed_twice(undisturbed_population):
    """The first time during its population, the second time after it was resumed."""
    begin = ["train", "-m", *POPULATION, "hydra.sweep.dir=sweep"]
    for arguments, name in ((begin, "first"), (["resume", "sweep", *plugin("first")], "second")):
        process = start(*arguments, *pause(checkpoints=1, name=name))
        wait_until_paused(process, name)
        process.kill()
        process.communicate()
    run("resume", "sweep", *plugin("first"))
    ours, theirs = (
        pd.read_csv(f"{folder}/results.csv").drop(columns=["seconds", "cpu_seconds"])
        for folder in ("sweep", undisturbed_population)
    )
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@row("F6")
@pytest.mark.campaign("kills")
@pytest.mark.timeout(3000)
def test_f6_a_driver_killed_again_and_again():
    """Killed at random moments, also during populations: every job has one result, equal to that
    of an undisturbed sweep, and none is trained twice.
    """
    seeds = 50
    overrides = [
        "experiment=xor_mlp",
        "tracking=summary",
        "training.epochs=60",
        "activation=tanh,relu,elu,sigmoid,gelu",
        "optimizer.lr=0.01,0.03",
        f"seed=range({seeds})",
        "tracking.checkpoint_seconds=0.2",
    ]
    jobs, draw, kills, seen = 10 * seeds, random.Random(5), 0, {}
    assert main(["train", "-m", *overrides, "hydra.sweep.dir=undisturbed"]) == 0
    round_number, started_at = 0, time.monotonic()
    run("resume", "undisturbed")
    # a resume without missing jobs: the time that a process needs before it starts to work
    start_up = time.monotonic() - started_at
    while kills < 200:
        folder = Path(f"sweep{round_number}")
        seen = {}
        while True:
            started = (folder / "plan.yaml").exists()
            driver = start(
                *(
                    ["resume", str(folder)]
                    if started
                    else ["train", "-m", *overrides, f"hydra.sweep.dir={folder}"]
                )
            )
            try:
                driver.communicate(timeout=start_up * draw.uniform(0.5, 1.6))
                assert driver.returncode == 0
                break
            except Exception:
                driver.send_signal(signal.SIGKILL)
                driver.communicate()
                kills += 1
            for path in (folder / "jobs").glob("*") if (folder / "jobs").exists() else ():
                stamp = path.stat().st_ino, (path / "summary.json").stat().st_mtime_ns
                assert seen.setdefault(path.name, stamp) == stamp  # never touched again
        ours, theirs = (
            pd.read_csv(f"{name}/results.csv").drop(columns=["seconds", "cpu_seconds"])
            for name in (folder, "undisturbed")
        )
        assert list(ours["job"]) == list(range(jobs))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
        round_number += 1
    record_measurement(
        "a driver of a sweep killed",
        jobs=jobs,
        kills=kills,
        sweeps=round_number,
        missing=0,
        twice=0,
        differing=0,
    )


@row("F11")
def test_f11_no_two_streams_are_the_same():
    from mlplab import randomness

    keys = torch.cat(
        [
            randomness.keys(range(2500), stream, torch.device("cpu")).flatten()
            for stream in ("order", "dropout", "init", "data")
        ]
    )
    assert len(set(keys.tolist())) == 10_000


@row("F12")
@pytest.mark.slow
def test_f12_jobs_leave_nothing_behind(tmp_path):
    """Results do not depend on the order of runs in a process, and runs do not change the
    process.
    """

    def globals_now():
        import logging

        return (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            len(logging.getLogger().handlers),
            os.getcwd(),
            dict(os.environ),
            signal.getsignal(signal.SIGINT),
            torch.are_deterministic_algorithms_enabled(),
            torch.initial_seed(),
            torch.get_rng_state().sum().item(),
            random.getstate(),
            threading.active_count(),
            len(os.listdir("/proc/self/fd")),
        )

    variants = [
        ["seed=1"],
        ["seed=2", "dtype=float64"],
        ["seed=3", "optimizer=nag"],
        ["activation=relu"],
        ["seed=4", "tracking=scalars"],
        ["optimizer.lr=1e30"],
    ]
    mlplab.run(QUICK, tmp_path / "first")
    before = globals_now()
    orders = {}
    for name, order in (("forwards", range(6)), ("backwards", reversed(range(6)))):
        for i in order:
            mlplab.run([*QUICK, *variants[i]], tmp_path / name / str(i))
        orders[name] = [digest(tmp_path / name / str(i)) for i in range(6)]
    assert orders["forwards"] == orders["backwards"]
    assert globals_now() == before


@row("F13")
@pytest.mark.campaign("timing")
@pytest.mark.timeout(1500)
def test_f13_many_jobs_in_one_process_leak_nothing(tmp_path):
    def used():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return (
            pages * os.sysconf("SC_PAGE_SIZE"),
            threading.active_count(),
            len(os.listdir("/proc/self/fd")),
        )

    overrides = ["experiment=xor_mlp", "training.epochs=3", "tracking=scalars"]
    count, warm = 300, 60
    samples = []
    for i in range(count):
        mlplab.run([*overrides, f"seed={i}"], tmp_path / str(i))
        if i >= warm and i % 10 == 9:
            samples.append(used())
    memory, threads, descriptors = zip(*samples, strict=True)
    assert len(set(threads)) == 1
    assert len(set(descriptors)) == 1
    assert memory[-1] < 1.05 * memory[0]
    record_measurement(
        "jobs in one process",
        jobs=count,
        memory_growth=round(memory[-1] / memory[0] - 1, 4),
        threads=threads[-1],
        descriptors=descriptors[-1],
    )


@row("F13", "E4")
@pytest.mark.slow
@pytest.mark.campaign("timing", small=True)
@pytest.mark.timeout(1500)
def test_f13_a_large_population_with_members_that_leave():
    members, epochs = size(48, 1024), size(60, 2000)
    draw = random.Random(2)
    settings = [
        make_settings(
            seed=s,
            hidden=(4,),
            dtype="float64",
            activation="relu",
            optimizer=build_component(
                OPTIMIZERS, "adam", lr=1e300 if draw.random() < 0.1 else 0.01
            ),
            training="batch",
            epochs=draw.randint(5, epochs) if draw.random() < 0.9 else epochs,
        )
        for s in range(members)
    ]
    outcomes = train_population(settings)
    assert {outcome.status for outcome in outcomes} == {"done", "diverged"}
    diverged = sum(outcome.status == "diverged" for outcome in outcomes)
    compared = [*range(0, members, max(1, members // size(6, 12)))]
    for k in compared:
        single = train_population([settings[k]])[0]
        assert (single.status, single.steps) == (outcomes[k].status, outcomes[k].steps)
        torch.testing.assert_close(
            single.last_theta_P, outcomes[k].last_theta_P, rtol=1e-8, atol=1e-8
        )
    if not FULL:
        return  # a memory leak shows only in large populations
    del outcomes, single
    sizes = [_memory_in_use()]
    for _ in range(2):
        train_population(settings)
        sizes.append(_memory_in_use())
    record_measurement(
        "a large population",
        members=members,
        epochs=epochs,
        diverged=diverged,
        compared=len(compared),
        memory_growth=round(sizes[-1] / sizes[0] - 1, 3),
    )
    assert sizes[-1] < 1.05 * sizes[0], sizes


def _memory_in_use():
    """Resident bytes, after the allocator has released its free memory."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@row("F14")
@pytest.mark.campaign("kills")
def test_f14_a_worker_that_hangs_is_replaced(monkeypatch):
    """It is asked to exit, then killed, and another worker trains its work unit."""
    from mlplab.config import plugins
    from mlplab.sweeps.execution.engines import local

    monkeypatch.setattr(local, "GRACE", 1.0)
    Path("components.py").write_text(
        "import os, time\n"
        "from dataclasses import dataclass\n"
        "from mlplab.config import register\n"
        "from mlplab.network.activations import Activation\n"
        "@register('activation', 'stuck')\n"
        "@dataclass(frozen=True)\n"
        "class Stuck(Activation):\n"
        '    """Hangs once in a worker."""\n'
        "    def __call__(self, x):\n"
        "        if x.numel() > 100 and not os.path.exists('hung'):\n"  # larger than the trial
        "            open('hung', 'w').close()\n"
        "            time.sleep(200)\n"
        "        return x.tanh()\n"
    )
    overrides = [
        "--plugin",
        "components.py",
        *QUICK,
        "activation=tanh,stuck,relu",
        "seed=0,1",
        "device=cpu",
    ]
    try:
        assert (
            main(
                [
                    "train",
                    "-m",
                    *overrides,
                    "sweep.cluster={minutes: 0.25}",
                    "hydra.sweep.dir=sweep",
                ]
            )
            == 0
        )
    finally:
        plugins.unregister("activation", "stuck")
    assert Path("hung").exists()
    assert list(pd.read_csv("sweep/results.csv")["status"]) == ["done"] * 6
    assert (
        "worker 0: killed by SIGKILL, after 0.25 minutes without beginning or ending a job"
        in Path("sweep/workers.log").read_text()
    )


@row("F9")
@pytest.mark.campaign("kills")
def test_f9_a_job_that_always_kills_its_worker_is_given_up():
    """It is given up after three crashes as a single job; the seven others of its population have
    their results, equal to those of a sweep without it.
    """
    Path("components.py").write_text(
        "import os, signal, torch\n"
        "from dataclasses import dataclass\n"
        "from mlplab.config import register\n"
        "from mlplab.network.activations import Activation\n"
        "from mlplab.schema import number\n"
        "@register('activation', 'poison')\n"
        "@dataclass(frozen=True)\n"
        "class Poison(Activation):\n"
        '    """Kills its process where it scales by 5."""\n'
        "    gain: float = number(1.0, 'What it scales by.')\n"
        "    def value(self, z):\n"
        "        if (torch.as_tensor(self.gain) == 5).any():\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return (self.gain * z).tanh()\n"
    )
    overrides = ["--plugin", "components.py", *QUICK, "activation=poison", "device=cpu"]
    done = run(
        "train",
        "-m",
        *overrides,
        "activation.gain=1,2,3,4,5,6,7,8",
        "sweep.workers=2",
        "hydra.sweep.dir=sweep",
        code=1,
    )
    table = pd.read_csv("sweep/results.csv")
    assert list(table["status"]) == ["done"] * 4 + ["failed"] + ["done"] * 3
    assert "3 workers died on this job alone" in done.stdout + done.stderr
    assert "3 workers died on this job alone" in Path("sweep/jobs/4/log.txt").read_text()
    # as a population, as halves, as a single job
    assert Path("sweep/workers.log").read_text().count("killed by SIGKILL") <= 3 + 2 + 3
    assert not Path("sweep/.under-way").exists()
    run("train", "-m", *overrides, "activation.gain=1,2,3,4,6,7,8", "hydra.sweep.dir=without")
    for n, m in zip((0, 1, 2, 3, 5, 6, 7), range(7), strict=True):
        ours, theirs = (
            json.loads(Path(f"{name}/summary.json").read_text())["metrics"]
            for name in (f"sweep/jobs/{n}", f"without/jobs/{m}")
        )
        assert ours == pytest.approx(theirs, rel=1e-5)


@row("F4", "A11")
@pytest.mark.campaign("kills")
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("engine", "epochs"), [("eager", 900), ("native", 100_000)])
def test_f4_workers_and_their_driver_killed_at_random_moments(engine, epochs):
    """Workers are killed while they train, and finally the driver, whose workers run on together
    with those of the next one: every job has one result, equal to that of an undisturbed sweep,
    and none is trained twice. The lengths make a training of seconds with either engine.
    """
    overrides = [
        *QUICK,
        f"engine={engine}",
        f"training.epochs={epochs}",
        "training.evaluate_every=50",
        "model.hidden=3,4,5",
        "seed=range(4)",
        "tracking.checkpoint_seconds=0.1",
        "device=cpu",
    ]
    assert main(["train", "-m", *overrides, "hydra.sweep.dir=undisturbed"]) == 0
    planned = 20
    driver, draw, kills, seen = (
        start("train", "-m", *overrides, "sweep.workers=2", "hydra.sweep.dir=sweep"),
        random.Random(3),
        0,
        {},
    )
    while driver.poll() is None:
        time.sleep(draw.uniform(0.02, 0.3))
        for path in Path("sweep/jobs").glob("*"):
            stamp = path.stat().st_ino, (path / "summary.json").stat().st_mtime_ns
            assert seen.setdefault(path.name, stamp) == stamp  # never touched again
        if kills == planned:
            continue
        try:
            notes = {path: path.read_text() for path in Path("sweep").glob(".under-way/*/*.json")}
            crashes = Counter(notes.values())
            busy_workers = [
                number
                for path, note in notes.items()
                # a third crash of the same jobs from the same step would give a job up: a worker
                # that begins where another crashed is killed after its next checkpoint
                if crashes[note] == 1 or _has_progressed(path, note)
                if _is_worker(number := int(path.name.split("-")[0]))
            ]
            if not busy_workers or not list(Path("sweep/.checkpoints").rglob("state-*.json")):
                continue
            os.kill(draw.choice(busy_workers), signal.SIGKILL)
        except OSError:  # a folder or a process that disappeared meanwhile
            continue
        kills += 1
        if kills == planned:
            driver.kill()
            driver.communicate()
            driver = start("resume", "sweep", "sweep.workers=2")
    output, errors = driver.communicate()
    assert driver.returncode == 0, output + errors
    assert kills == planned
    logged_kills = Path("sweep/workers.log").read_text().count("killed by SIGKILL")
    assert logged_kills >= kills - 2  # no driver logged the last one, or two at once
    ours, theirs = (
        pd.read_csv(f"{name}/results.csv").drop(columns=["seconds", "cpu_seconds"])
        for name in ("sweep", "undisturbed")
    )
    pd.testing.assert_frame_equal(ours, theirs, check_exact=False, rtol=1e-5)
    assert list(ours["job"]) == list(range(12))
    record_measurement(
        "workers of a sweep and their driver killed",
        jobs=12,
        worker_kills=kills,
        driver_kills=1,
        missing=0,
        twice=0,
    )


def _has_progressed(note_path, note):
    """Whether a work unit has a newer checkpoint than the one that a note in it begins with."""
    states = Path("sweep/.checkpoints", note_path.parent.name).rglob("state-*.json")
    steps = [int(path.stem.removeprefix("state-")) for path in states]
    return max(steps, default=-1) > json.loads(note)["step"]


def _is_worker(number):
    """Whether the process still runs; a note may belong to one that has ended."""
    path = Path(f"/proc/{number}/cmdline")
    return path.exists() and b"work" in path.read_bytes().split(b"\0")


@row("F15")
def test_f15_a_clock_that_goes_back(monkeypatch, tmp_path):
    real, calls = time.time, []

    def back():
        calls.append(1)
        return real() - 100.0 * len(calls)

    monkeypatch.setattr(time, "time", back)
    result = mlplab.run(
        [*QUICK, "tracking=scalars", "tracking.checkpoint_seconds=0"], tmp_path / "run"
    )
    assert result.summary["seconds"] >= 0
    assert list(result.history["step"]) == sorted(result.history["step"])
    assert mlplab.load(tmp_path / "run").history["epoch"][-1] == 12


@row("F16")
def test_f16_a_network_larger_than_the_memory(capfd):
    assert main(["train", *QUICK, "model.hidden=[1000000,1000000]"]) == 2
    assert "model.hidden" in capfd.readouterr().err


@row("F16")
def test_f16_memory_that_is_used_up_while_training(monkeypatch, capfd):
    """The reason says how much was missing and what helps, not where in torch it was noticed."""
    monkeypatch.setattr(session, "build_population", lambda members: torch.empty(1 << 50))
    assert main(["train", *QUICK, "hydra.run.dir=run"]) == 1
    assert main(["train", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep"]) == 1
    errors = capfd.readouterr().err
    assert errors.count("out of memory while allocating 4,503,599,627 MB. Try a smaller") == 3
    assert "alloc_cpu" not in errors
    reasons = pd.read_csv("sweep/results.csv")["reason"]
    assert all("model.hidden or training.batch_size" in reason for reason in reasons)
    limits = {resource.RLIMIT_AS: (1 << 62, 1 << 62)}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits[kind])
    unlimited = memory.available(torch.device("cpu"))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits[resource.RLIMIT_AS] = (pages * resource.getpagesize() + (8 << 20), 1 << 62)
    assert memory.available(torch.device("cpu")) < (16 << 20) < unlimited


@row("F17")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_f17_cuda_where_there_is_none(capfd):
    for overrides in (["device=cuda"], ["device=cuda", "-m", "seed=0,1"]):
        assert main(["train", *QUICK, *overrides]) in (1, 2)
        assert "no CUDA device" in capfd.readouterr().err
    assert main(["train", *QUICK, "hydra.run.dir=run"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["device"] == "cpu"


@row("F18")
def test_f18_results_are_derived_and_whole():
    """results.csv is derived from the job folders each time and replaced atomically."""
    assert main(["train", "-m", *QUICK, "seed=0,1,2", "hydra.sweep.dir=sweep"]) == 0
    whole = pd.read_csv("sweep/results.csv")
    Path("sweep/results.csv").write_text(Path("sweep/results.csv").read_text()[:-25])
    assert main(["report", "sweep"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv("sweep/results.csv"), whole)


@row("A2", "B8")
def test_a_damaged_checkpoint_of_a_population_is_trained_again(undisturbed_population):
    process = start("train", "-m", *POPULATION, "hydra.sweep.dir=sweep", *pause(checkpoints=1))
    wait_until_paused(process)
    process.kill()
    process.communicate()
    for path in Path("sweep").glob(".checkpoints/*/*/state-*.safetensors"):
        path.write_bytes(path.read_bytes()[:-3])
    done = run("resume", "sweep", *plugin())
    assert "trained again" in done.stderr
    for n in range(4):
        assert digest(Path(f"sweep/jobs/{n}")) == digest(undisturbed_population / f"jobs/{n}")


@row("F20")
def test_f20_threads_are_recorded(tmp_path):
    mlplab.run(QUICK, tmp_path / "run")
    assert (
        json.loads((tmp_path / "run" / "provenance.json").read_text())["machine"]["threads"]
        == torch.get_num_threads()
    )
