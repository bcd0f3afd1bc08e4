"""A sweep on a real Slurm and a real Ray on this machine: the same results as with local workers,
whatever crashes meanwhile, and bit-identical results after preemption. Jobs are stored in packs,
as by default, or in folders.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from harness import wait_for
from safetensors.torch import load_file

from mlplab.runs.packs import Packs

pytestmark = [pytest.mark.cluster, pytest.mark.campaign("cluster"), pytest.mark.timeout(900)]
JOBS = [
    "experiment=xor_mlp",
    "training.epochs=60",
    "dataset.num_samples=200",
    "optimizer.lr=0.003,0.01",
    "seeds=250",
    "tracking=summary",
    "device=cpu",
]
NUMBERS = [
    "job",
    "optimizer.lr",
    "seed",
    "val/loss",
    "val/accuracy",
    "test/loss",
    "test/accuracy",
    "best_epoch",
]
in_both_forms = pytest.mark.parametrize("form", ["packed", "folders"])
MLPLAB = [sys.executable, "-W", "ignore", "-m", "mlplab"]


def run(*command, **options):
    """The output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, **options)
    return done.stdout


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """The results of the sweep, trained by two workers on this machine with one thread each."""
    folder = tmp_path_factory.mktemp("local")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    run(
        *MLPLAB,
        "train",
        "-m",
        *JOBS,
        "sweep.workers=2",
        "hydra.sweep.dir=local",
        cwd=folder,
        env=env,
    )
    return pd.read_csv(folder / "local" / "results.csv")


def begin(env, *more, form="packed"):
    command = [*MLPLAB, "train", "-m", *JOBS, "sweep.workers=2", "hydra.sweep.dir=cluster", *more]
    command.append(f"tracking.jobs={form}")
    with open("cluster.driver.log", "ab") as log:
        return subprocess.Popen(command, env=env, stdout=log, stderr=log)


def jobs():
    """When each stored job ended, by number: a job that is trained again has another time."""
    stored = Path("cluster/jobs").glob("*/summary.json")
    if ended := {int(path.parent.name): path.stat().st_mtime for path in stored}:
        return ended
    packs = Packs(Path("cluster"))
    packs.refresh()
    return {number: packs.ended(number) for number in packs.numbers}


def workers(folder="cluster"):
    """Process numbers of the workers of a sweep."""
    numbers = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if (
            "work" in arguments
            and str(Path(folder).resolve()) in arguments
            and "mlplab" in arguments
            and "srun" not in arguments[0]
        ):
            numbers.append(int(process.name))
    return numbers


def assert_equal(local, form="packed"):
    assert Path("cluster/packs").exists() == (form == "packed")
    results = pd.read_csv("cluster/results.csv")
    assert (results.status == "done").all()
    assert len(results) == len(set(results.job)) == 500
    pd.testing.assert_frame_equal(results[NUMBERS], local[NUMBERS], check_exact=True)


SLURM = ["sweep.engine=slurm", "sweep.cluster={partition:main,minutes:30}"]


@in_both_forms
def test_slurm_gives_the_numbers_of_this_machine(slurm, local, form):
    assert begin(slurm, *SLURM, form=form).wait(400) == 0
    assert_equal(local, form)
    log = Path("cluster/workers.log").read_text()
    assert "COMPLETED, exit code 0:0 on n1" in log
    assert "COMPLETED, exit code 0:0 on n2" in log
    assert len(set(re.findall(r"slurm job (\d+)_[01]: started", log))) == 1  # tasks of one array
    workers = Path("cluster/workers")
    assert [path.name for path in workers.iterdir() if path.suffix != ".log"] == ["0.sh"]


@in_both_forms
def test_slurm_loses_a_worker_a_job_a_node_and_its_driver_and_no_result(slurm, local, form):
    driver = begin(slurm, *SLURM, form=form)
    wait_for(lambda: len(workers()) == 2)
    os.kill(workers()[0], signal.SIGKILL)
    wait_for(jobs)
    first = run("squeue", "-h", "-o", "%i", "-t", "R", env=slurm).split()
    if first:
        subprocess.run(["scancel", first[0]], env=slurm, check=True)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    run("scontrol", "update", "nodename=n2", "state=down", "reason=test", env=slurm)
    done = jobs()
    resumed = subprocess.Popen(
        [*MLPLAB, "resume", "cluster", "sweep.workers=2", *SLURM],
        env=slurm,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(5)
    # in case it did not recover by itself
    subprocess.run(["scontrol", "update", "nodename=n2", "state=resume"], env=slurm, check=False)
    assert resumed.wait(600) == 0
    assert_equal(local, form)
    assert done.items() <= jobs().items()


@pytest.mark.parametrize("count", [1, 2], ids=["a job", "a task of an array"])
def test_a_preempted_slurm_job_goes_on_to_the_same_bits(slurm, tmp_path, count):
    overrides = [
        "experiment=xor_mlp",
        "training.epochs=6000",
        "engine=eager",  # native would be done before the signal
        "optimizer.lr=0.01",
        f"seed=range({8 * count})",
        "tracking=summary",
        "device=cpu",
        "training.patience=null",
        f"sweep.workers={count}",
    ]
    env = {**slurm, "OMP_NUM_THREADS": "1"}
    run(*MLPLAB, "train", "-m", *overrides, "hydra.sweep.dir=undisturbed", env=env)
    more = [
        "sweep.engine=slurm",
        "sweep.cluster={partition:main,minutes:30}",
        "hydra.sweep.dir=preempted",
    ]
    driver = subprocess.Popen(
        [*MLPLAB, "train", "-m", *overrides, *more],
        env=slurm,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: len(workers("preempted")) == count)
    wait_for(lambda: len(list(Path("preempted/.locks").glob("*/.lock"))) == count)
    time.sleep(3)
    number = run("squeue", "-h", "-o", "%i", "-t", "R", env=slurm).split()[0]
    assert ("_" in number) == (count > 1)
    before = set(workers("preempted"))
    run("scancel", "--signal=USR2", number, env=slurm)
    wait_for(lambda: before - set(workers("preempted")), 60)
    assert list(Path("preempted/.checkpoints").glob("*/*/step-*")) or list(
        Path("preempted/.checkpoints").glob("*/*/*")
    )
    time.sleep(4)
    subprocess.run(
        ["scontrol", "update", f"JobId={number}", "StartTime=now"], env=slurm, check=False
    )
    assert driver.wait(400) == 0
    # it was queued again and not replaced by another job
    assert f"slurm job {number}: COMPLETED" in Path("preempted/workers.log").read_text()
    for job in range(8 * count):
        expected, weights = (
            load_file(f"{folder}/jobs/{job}/weights.safetensors")
            for folder in ("undisturbed", "preempted")
        )
        assert all((expected[name] == weights[name]).all() for name in expected)


def test_slurm_can_be_left_and_collected(slurm, local):
    assert begin(slurm, *SLURM, "sweep.detach=true").wait(60) != 2
    wait_for(lambda: len(jobs()) == 500, 300)
    run(*MLPLAB, "resume", "cluster", env=slurm)
    assert_equal(local)


@in_both_forms
def test_ray_gives_the_numbers_of_this_machine(ray, local, form):
    address, env, _ = ray
    engine = ["sweep.engine=ray", f"sweep.cluster={{address:'{address}'}}"]
    assert begin(env, *engine, form=form).wait(400) == 0
    assert_equal(local, form)


def test_ray_loses_a_worker_and_its_driver_and_no_result(ray, local):
    address, env, _ = ray
    engine = ["sweep.engine=ray", f"sweep.cluster={{address:'{address}'}}"]
    driver = begin(env, *engine)
    wait_for(lambda: len(workers()) == 2)
    os.kill(workers()[0], signal.SIGKILL)
    wait_for(jobs)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert (
        subprocess.run(
            [*MLPLAB, "resume", "cluster", "sweep.workers=2", *engine],
            env=env,
            check=False,
            capture_output=True,
        ).returncode
        == 0
    )
    assert_equal(local)


def test_ray_loses_a_node(ray, local):
    """Must be the last test, since the node is gone afterwards."""
    address, env, nodes = ray
    engine = ["sweep.engine=ray", f"sweep.cluster={{address:'{address}'}}"]
    driver = begin(env, *engine)
    wait_for(lambda: len(workers()) == 2)
    os.killpg(nodes[1].pid, signal.SIGKILL)
    assert driver.wait(600) == 0
    assert_equal(local)
    assert "ray task" in Path("cluster/workers.log").read_text()
