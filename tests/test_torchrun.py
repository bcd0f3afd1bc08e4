"""One network over several processes: the numbers of one, checkpoints for any number of them, a
process that is lost.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mlplab.runs.checkpoints import newest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WORDS = [
    "dataset=moons",
    "dataset.num_samples=300",
    "model.hidden=12-8",
    "training.batch_size=50",
    "device=cpu",
    "tracking=summary",
]


def torchrun(number, *words, **more):
    """The command under torchrun with so many processes."""
    head = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={number}",
        "-m",
        "mlplab",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*head, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def ended(process, seconds=120):
    output, errors = process.communicate(timeout=seconds)
    return process.returncode, output, errors


def alone(*words):
    done = subprocess.run(
        [sys.executable, "-m", "mlplab", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def gap(one, other):
    """Largest difference of the weights, the best and the last."""
    found = 0.0
    for name in ("weights.safetensors", "checkpoints/last.safetensors"):
        mine, theirs = load_file(f"{one}/{name}"), load_file(f"{other}/{name}")
        found = max(found, *(float((mine[key] - theirs[key]).abs().max()) for key in mine))
    return found


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        (["dtype=float64"], 1e-10),
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
        (["dtype=float64", "training.batch_size=7", "optimizer=nag", "loss=nll"], 1e-10),
        (["optimizer=sgd", "optimizer.lr=0.05"], 1e-6),
    ],
)
def test_four_processes_train_the_network_of_one(more, limit):
    words = ["train", *WORDS, "training.epochs=6", *more]
    alone(*words, "hydra.run.dir=one")
    code, output, errors = ended(torchrun(4, *words, "hydra.run.dir=four"))
    assert code == 0, errors
    assert output.count("four\n") == 1  # the first alone tells
    assert gap("one", "four") <= limit
    one, four = (
        json.loads(Path(f"{place}/summary.json").read_text())["metrics"]
        for place in ("one", "four")
    )
    assert four == {name: pytest.approx(value, abs=100 * limit) for name, value in one.items()}


def test_a_checkpoint_goes_on_with_another_number_of_processes():
    words = ["train", *WORDS, "dtype=float64", "training.epochs=6"]
    alone(*words, "hydra.run.dir=whole")
    code, _, errors = ended(
        torchrun(3, *[word.replace("epochs=6", "epochs=3") for word in words], "hydra.run.dir=run")
    )
    assert code == 0, errors
    code, _, errors = ended(torchrun(2, "resume", "run", "training.epochs=6"))
    assert code == 0, errors
    assert gap("whole", "run") <= 1e-10
    alone("resume", "run", "training.epochs=7")
    alone(*[word.replace("epochs=6", "epochs=7") for word in words], "hydra.run.dir=longer")
    assert gap("longer", "run") <= 1e-10


def ranks(process):
    """Process numbers of the workers below torchrun."""
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return sorted(int(number) for number in found)


def begun(place):
    limit = time.monotonic() + 60
    while (
        not (Path(place) / "metrics.csv").exists()
        or len((Path(place) / "metrics.csv").read_bytes()) < 3000
    ):
        assert time.monotonic() < limit
        time.sleep(0.1)


LONG = [
    "train",
    *WORDS,
    "dtype=float64",
    "training.epochs=100000",
    "tracking.checkpoint_seconds=0.5",
    "hydra.run.dir=run",
]


@pytest.mark.parametrize("lost", [0, -1])
def test_a_lost_process_ends_the_others_and_the_run_goes_on(lost):
    process = torchrun(3, *LONG)
    begun("run")
    time.sleep(2)
    own = ranks(process)
    assert len(own) == 3
    moment = time.monotonic()
    os.kill(own[lost], signal.SIGKILL)
    code, _, errors = ended(process, 40)
    assert time.monotonic() - moment < 30
    assert code != 0
    if lost:
        summary = json.loads(Path("run/summary.json").read_text())
        assert summary["status"] in ("failed", "interrupted")
        assert "is gone" in errors or "interrupted" in summary["status"]
    steps = newest(Path("run/checkpoints"))[0].step
    assert steps > 0
    code, _, errors = ended(torchrun(2, "resume", "run", f"training.epochs={steps // 4 + 200}"))
    assert code == 0, errors
    assert json.loads(Path("run/summary.json").read_text())["status"] == "done"


def test_a_signal_stops_all_after_the_same_step_and_the_rest_has_the_same_bits():
    process = torchrun(2, *LONG)
    begun("run")
    os.kill(ranks(process)[1], signal.SIGTERM)  # not the first: it learns of it from the other
    code, output, _ = ended(process, 40)
    assert code != 0
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["status"] == "interrupted", output
    assert not list(Path("run").rglob(".tmp-*"))


def test_what_cannot_be_shared_is_refused():
    code, _, errors = ended(torchrun(2, "train", *WORDS, "model.normalization=batch"))
    assert code != 0
    assert "model.normalization=layer" in errors
    assert not Path("outputs").exists()
    code, _, errors = ended(torchrun(2, "train", "-m", *WORDS, "optimizer.lr=0.1,0.2"))
    assert code != 0
    assert "sweep.workers=N" in errors
