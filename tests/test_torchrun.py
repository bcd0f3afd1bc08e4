"""One network on several processes: the numbers of one process, checkpoints for any number of
processes, and a lost process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import run, start
from pauses import pause, wait_until_paused
from safetensors.torch import load_file
from tiers import in_campaign

from mlplab.runs.checkpoints import newest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
OVERRIDES = [
    "dataset=moons",
    "dataset.num_samples=300",
    "model.hidden=12-8",
    "training.batch_size=50",
    "device=cpu",
    "tracking=summary",
]


def start_ranks(size, *arguments):
    """Start the command as `size` ranks, in the environment that torchrun would set."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        start(*arguments, env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(size)
    ]


def finish(ranks):
    """Wait for the ranks, and return exit codes, joined output and joined errors."""
    texts = [process.communicate(timeout=120) for process in ranks]
    output, errors = ("".join(column) for column in zip(*texts, strict=True))
    return [process.returncode for process in ranks], output, errors


def run_ranks(size, *arguments):
    codes, output, errors = finish(start_ranks(size, *arguments))
    assert codes == [0] * size, errors
    return output


def gap(one, other):
    """The largest difference of the best or the last weights."""
    largest = 0.0
    for name in ("weights.safetensors", "checkpoints/last.safetensors"):
        mine, theirs = load_file(f"{one}/{name}"), load_file(f"{other}/{name}")
        largest = max(largest, *(float((mine[key] - theirs[key]).abs().max()) for key in mine))
    return largest


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        in_campaign("cluster", ["dtype=float64"], 1e-10),
        (
            [
                "dtype=float64",
                "model.dropout=0.3",
                "model.normalization=layer",
                "loss=cross_entropy",
                "loss.class_weights=balanced",
                "training.clip_norm=0.5",
                "training.l1=1e-3",
            ],
            1e-10,
        ),
        in_campaign(
            "cluster",
            ["dtype=float64", "training.batch_size=7", "optimizer=nag", "loss=nll"],
            1e-10,
        ),
        (["optimizer=sgd", "optimizer.lr=0.05"], 1e-6),
    ],
)
def test_four_processes_train_the_network_of_one(more, limit):
    arguments = ["train", *OVERRIDES, "training.epochs=6", *more]
    run(*arguments, "hydra.run.dir=one")
    output = run_ranks(4, *arguments, "hydra.run.dir=four")
    assert output.count("four\n") == 1  # only the main rank reports
    assert gap("one", "four") <= limit
    one, four = (
        json.loads(Path(f"{folder}/summary.json").read_text())["metrics"]
        for folder in ("one", "four")
    )
    assert four == {name: pytest.approx(value, abs=100 * limit) for name, value in one.items()}


def test_a_checkpoint_continues_with_another_number_of_processes():
    arguments = ["train", *OVERRIDES, "dtype=float64"]
    run(*arguments, "training.epochs=6", "hydra.run.dir=whole")
    run_ranks(3, *arguments, "training.epochs=3", "hydra.run.dir=run")
    run_ranks(2, "resume", "run", "training.epochs=6")
    assert gap("whole", "run") <= 1e-10
    run("resume", "run", "training.epochs=7")
    run(*arguments, "training.epochs=7", "hydra.run.dir=longer")
    assert gap("longer", "run") <= 1e-10


INTERRUPTED = ["train", *OVERRIDES, "dtype=float64", "training.epochs=60", "hydra.run.dir=run"]
EACH_EPOCH = "tracking.checkpoint_epochs=1"


@pytest.mark.campaign("cluster")  # the others may notice only after 25 s
@pytest.mark.parametrize("lost", [0, 2])
def test_a_lost_process_ends_the_others_and_the_run_can_resume(lost):
    """The rank is killed in the middle of the training, which is paused after a checkpoint."""
    ranks = start_ranks(3, *INTERRUPTED, EACH_EPOCH, *pause(checkpoints=1))
    # Only the main rank saves; the others wait for it in the next all-reduce.
    wait_until_paused(ranks[0])
    ranks[lost].kill()
    Path("released").touch()
    codes, _, errors = finish(ranks)
    assert 0 not in codes
    if lost:
        summary = json.loads(Path("run/summary.json").read_text())
        assert summary["status"] in ("failed", "interrupted")
        assert "is gone" in errors or summary["status"] == "interrupted"
    assert newest(Path("run/checkpoints"))[0].step > 0
    run_ranks(2, "resume", "run")
    run(*INTERRUPTED[:-1], "hydra.run.dir=whole")
    assert gap("whole", "run") <= 1e-10


def test_a_signal_stops_all_after_the_same_step():
    """A rank that does not save receives it, and passes it to the main rank with the gradients."""
    ranks = start_ranks(2, *INTERRUPTED, EACH_EPOCH, *pause(checkpoints=1))
    wait_until_paused(ranks[0])
    ranks[1].send_signal(signal.SIGTERM)
    Path("released").touch()
    codes, output, errors = finish(ranks)
    assert 0 not in codes
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["status"] == "interrupted", output + errors
    assert not list(Path("run").rglob(".tmp-*"))


def test_unsupported_settings_are_rejected():
    codes, _, errors = finish(start_ranks(2, "train", *OVERRIDES, "model.normalization=batch"))
    assert 0 not in codes
    assert "model.normalization=layer" in errors
    assert not Path("outputs").exists()
    codes, _, errors = finish(start_ranks(2, "train", "-m", *OVERRIDES, "optimizer.lr=0.1,0.2"))
    assert 0 not in codes
    assert "sweep.workers=N" in errors


@pytest.mark.campaign("cluster")
def test_torchrun_itself_starts_and_ends_the_ranks():
    """With torchrun's elastic agent: the numbers of one process, and a killed rank."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    mlplab = ["--no-python", str(Path(sys.executable).with_name("mlplab"))]
    train = ["train", *OVERRIDES, "dtype=float64", "training.epochs=6"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start_torchrun(*arguments):
        return subprocess.Popen([*torchrun, "--nproc-per-node=2", *arguments], env=environment)

    assert start_torchrun(*mlplab, *train, "hydra.run.dir=two").wait(200) == 0
    run(*train, "hydra.run.dir=one")
    assert gap("one", "two") <= 1e-10
    agent = start_torchrun(*mlplab, *INTERRUPTED, EACH_EPOCH, *pause(checkpoints=1))
    paused = wait_until_paused(agent)
    os.kill(paused.pid, signal.SIGKILL)
    assert agent.wait(200) != 0
    assert newest(Path("run/checkpoints"))[0].step > 0
    assert start_torchrun(*mlplab, "resume", "run").wait(200) == 0
    assert json.loads(Path("run/summary.json").read_text())["status"] == "done"
