"""Trains, kills itself at random moments with SIGKILL, and resumes, until it has been killed often
enough: a program of its own.

The parent has everything imported and has trained and saved once, so that a child's life is
training and not imports. Writes are slowed, so that kills land inside them, most of them aimed; the
parent knows whether one did. `--control` writes the state in place under one name, as many programs
do: it must lose some. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import time
import traceback
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from mlplab import experiment
from mlplab.config.builder import build
from mlplab.config.builder import build as build_settings
from mlplab.config.composition import Composed, compose
from mlplab.config.stored import stored_config
from mlplab.io import files
from mlplab.runs import checkpoints as checkpoints_module
from mlplab.runs import tree_file
from mlplab.sweeps import run_sweep
from mlplab.sweeps.plan.plan import Options

torch.set_num_threads(1)
SEEN = mmap.mmap(-1, 2)  # by parent and child
# 1 while the child is inside a write; how many writes of a state it has begun, modulo 256
INSIDE, BEGUN = 0, 1
CHUNKS = 16
PAUSE = 0.0006  # seconds between two chunks
# of the kills wait for a write of a state, however seldom a busy machine comes to one; the others
# come when they come
AIMED = 0.8
SINGLE = [
    "experiment=xor_mlp",
    "tracking=summary",
    "tracking.checkpoint_seconds=0",
    "dataset.num_samples=60",
    "training.epochs=30",
    "training.batch_size=16",
    "model.dropout=0.2",
    "model.normalization=batch",
    "optimizer=adamw",
    "schedule=plateau",
    "schedule.patience=2",
]


def slow_write(path, data, *, durable=False):
    """write_bytes_atomic in chunks, telling the parent."""
    staging_dir = path.parent / f".tmp-{os.getpid()}-{os.urandom(4).hex()}"
    _chunks(staging_dir, data, state=path.name.startswith("state"))
    os.replace(staging_dir, path)
    SEEN[INSIDE] = 0


def _chunks(path, data, state):
    SEEN[INSIDE], SEEN[BEGUN] = 1, (SEEN[BEGUN] + state) % 256
    size = max(1, -(-len(data) // CHUNKS))
    with open(path, "wb") as file:
        for start in range(0, len(data), size):
            file.write(data[start : start + size])
            file.flush()
            time.sleep(PAUSE)


class InPlace(checkpoints_module.Checkpoints):
    """The control: one file, written over, no digest."""

    def save(self, step, epoch, tree, rows, elapsed):
        self.kept = [*getattr(self, "kept", []), *rows]
        data = tree_file.dump(
            {
                "step": step,
                "tree": tree,
                "rows": self.kept,
                "manifest": {"step": step, "epoch": epoch, "elapsed": elapsed, **self.identity},
            }
        )
        _chunks(self.folder / "state.bin", data, state=True)
        SEEN[INSIDE] = 0

    def resume(self, saved):
        self.kept = list(saved.history)

    @staticmethod
    def newest(folder):
        path = folder / "state.bin"
        if not path.exists():
            return None, []
        found = tree_file.parse(path.read_bytes())
        return checkpoints_module.Saved(found["manifest"], found["tree"], found["rows"]), []


def settings_of(folder):
    return build_settings(Composed(stored_config(folder)))


def single(folder, words):
    """One life of a single run."""
    if (folder / "config.yaml").exists() and (folder / "provenance.json").exists():
        experiment.resume(folder, settings_of(folder), quiet=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        experiment.run(build(compose(words)), folder, quiet=True)


def population(folder, jobs):
    """One life of a sweep that is one population."""
    plan = run_sweep.write_sweep_plan(folder, jobs, Options())
    run_sweep.train(plan, folder, quiet=True)


def jobs_of(members):
    """Members that finish, stop and diverge at different times."""
    words = [*SINGLE[:-3], "optimizer=adam", "training.patience=null"]
    made = []
    for i in range(members):
        lr = "1e30" if i == 1 else "0.01"
        made.append(
            build(
                compose(
                    [
                        *words,
                        f"seed={i}",
                        f"optimizer.lr={lr}",
                        f"training.epochs={10 + 5 * (i % 5)}",
                    ]
                )
            )
        )
    return made


def digest(folder):
    """What must be the same: weights and history of every run below the folder."""
    found = hashlib.sha256()
    # beside them may lie what a killed process had not put in its place
    folder = folder / "jobs" if (folder / "jobs").exists() else folder
    for name in (
        "metrics.csv",
        "weights.safetensors",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
    ):
        for path in sorted(folder.rglob(name)):
            found.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
    return found.hexdigest()


def finished(folder, members):
    if members:
        return all((folder / "jobs" / str(n) / "summary.json").exists() for n in range(members))
    try:
        return json.loads((folder / "summary.json").read_text())["status"] in ("done", "diverged")
    except (OSError, ValueError):
        return False


def live(work, folder):
    """A child that works until it is done or killed; its process number."""
    SEEN[INSIDE] = 0
    child = os.fork()
    if child:
        return child
    try:
        work(folder)
        os._exit(0)
    except BaseException:
        (folder.parent / "failed.txt").write_text(traceback.format_exc())
        os._exit(1)


def lives_until(child, moment):
    """Wait for the moment or for the child's end; what waitpid says of the child."""
    ended, status = 0, 0
    while not ended and not moment():
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.0002)
    return ended, status


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--members", type=int, default=0)
    parser.add_argument("--control", action="store_true")
    parser.add_argument(
        "--longest", type=float, default=0.5, help="seconds that a child lives at most"
    )
    given = parser.parse_args()
    jobs = jobs_of(given.members) if given.members else None
    work = (
        (lambda folder: population(folder, jobs))
        if jobs
        else (lambda folder: single(folder, SINGLE))
    )
    undisturbed = Path("undisturbed")
    shutil.rmtree(undisturbed, ignore_errors=True)
    work(undisturbed)  # the warm-up too: everything is imported and has run once
    wanted = digest(undisturbed)
    if given.control:
        checkpoints_module.Checkpoints.save, checkpoints_module.Checkpoints.resume = (
            InPlace.save,
            InPlace.resume,
        )
        from mlplab.runs import resume_checks

        resume_checks.newest = InPlace.newest
    files.write_bytes_atomic = checkpoints_module.write_bytes_atomic = slow_write
    draw = random.Random(given.seed)
    kills = inside = lost = runs = differing = attempts = 0
    started = time.monotonic()
    while kills < given.kills:
        folder = Path(f"run{runs}")
        while not finished(folder, given.members):
            attempts += 1
            child = live(work, folder)
            deadline = time.monotonic() + draw.uniform(0.02, given.longest)
            ended, status = lives_until(
                child, lambda deadline=deadline: time.monotonic() >= deadline
            )
            if not ended and draw.random() < AIMED:
                # not always the next: a life must come further
                target = (SEEN[BEGUN] + draw.randint(1, 3)) % 256
                ended, status = lives_until(child, lambda target=target: SEEN[BEGUN] == target)
                time.sleep(0 if ended else draw.uniform(0, 0.8 * CHUNKS * PAUSE))
            if not ended:
                was_inside = SEEN[INSIDE] == 1
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                kills, inside = kills + 1, inside + was_inside
            elif os.waitstatus_to_exitcode(status):
                lost += 1  # it could not go on from what was left
                reason = Path("failed.txt").read_text().strip().splitlines()[-1]
                shutil.rmtree(folder, ignore_errors=True)
            # a control that always loses never ends
            if kills >= (given.kills if given.control else 3 * given.kills + 100):
                break
        runs += 1
        differing += finished(folder, given.members) and digest(folder) != wanted
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            Path("failed.txt").unlink()
    print(
        json.dumps(
            {
                "kills": kills,
                "inside a write": inside,
                "lost": lost,
                "runs": runs,
                "differing": differing,
                "attempts": attempts,
                "seconds": round(time.monotonic() - started, 1),
                "seed": given.seed,
                "members": given.members,
                "why": locals().get("reason", ""),
            }
        )
    )


if __name__ == "__main__":
    main()
