"""Program that trains in child processes, kills them at random moments with SIGKILL, and resumes.

The parent has imported everything and has trained and saved once, so that children spend their time
on training, not on imports. Writes are slowed, so that most kills hit one; the parent knows whether
a kill did. `--control` overwrites a single state file, as many programs do: it must lose some runs.
Prints one line of JSON.
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
SEEN = mmap.mmap(-1, 2)  # shared by parent and child
# 1 while the child is inside a write; number of state writes that it has started, modulo 256
INSIDE, BEGUN = 0, 1
CHUNKS = 16
PAUSE = 0.0006  # seconds between two chunks
# fraction of the kills that wait for a write of a state, however rare writes are on a busy machine;
# the others happen at random times
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
    """Like write_bytes_atomic, but in slow chunks, and visible to the parent."""
    temporary_path = path.parent / f".tmp-{os.getpid()}-{os.urandom(4).hex()}"
    _chunks(temporary_path, data, state=path.name.startswith("state"))
    os.replace(temporary_path, path)
    SEEN[INSIDE] = 0


def _chunks(path, data, state):
    SEEN[INSIDE], SEEN[BEGUN] = 1, (SEEN[BEGUN] + state) % 256
    size = max(1, -(-len(data) // CHUNKS))
    with open(path, "wb") as file:
        for start in range(0, len(data), size):
            file.write(data[start : start + size])
            file.flush()
            time.sleep(PAUSE)


class OverwritingCheckpoints(checkpoints_module.Checkpoints):
    """The control: one file that is overwritten, without a digest."""

    def save(self, step, epoch, tree, rows, elapsed):
        self.saved_rows = [*getattr(self, "saved_rows", []), *rows]
        data = tree_file.dump(
            {
                "step": step,
                "tree": tree,
                "rows": self.saved_rows,
                "manifest": {
                    "step": step,
                    "epoch": epoch,
                    "elapsed": elapsed.wall,
                    **self.identity,
                },
            }
        )
        _chunks(self.folder / "state.bin", data, state=True)
        SEEN[INSIDE] = 0

    def resume(self, saved):
        self.saved_rows = list(saved.history)

    @staticmethod
    def newest(folder):
        path = folder / "state.bin"
        if not path.exists():
            return None, []
        state = tree_file.parse(path.read_bytes())
        return checkpoints_module.Saved(state["manifest"], state["tree"], state["rows"]), []


def settings_of(folder):
    return build_settings(Composed(stored_config(folder)))


def single(folder, overrides):
    """Train or resume a single run."""
    if (folder / "config.yaml").exists() and (folder / "provenance.json").exists():
        experiment.resume(folder, settings_of(folder), quiet=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        experiment.run(build(compose(overrides)), folder, quiet=True)


def population(folder, jobs):
    """Train or resume a sweep that is one population."""
    plan = run_sweep.write_sweep_plan(folder, jobs, Options())
    run_sweep.train(plan, folder, quiet=True)


def jobs_of(members):
    """Members that finish, stop and diverge at different times."""
    overrides = [*SINGLE[:-3], "optimizer=adam", "training.patience=null"]
    settings = []
    for i in range(members):
        lr = "1e30" if i == 1 else "0.01"
        settings.append(
            build(
                compose(
                    [
                        *overrides,
                        f"seed={i}",
                        f"optimizer.lr={lr}",
                        f"training.epochs={10 + 5 * (i % 5)}",
                    ]
                )
            )
        )
    return settings


def digest(folder):
    """A digest of the weights and history of every run below the folder."""
    hasher = hashlib.sha256()
    # a killed process may have left temporary files next to the job folders
    folder = folder / "jobs" if (folder / "jobs").exists() else folder
    for name in (
        "metrics.csv",
        "weights.safetensors",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
    ):
        for path in sorted(folder.rglob(name)):
            hasher.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
    return hasher.hexdigest()


def finished(folder, members):
    if members:
        return all((folder / "jobs" / str(n) / "summary.json").exists() for n in range(members))
    try:
        return json.loads((folder / "summary.json").read_text())["status"] in ("done", "diverged")
    except (OSError, ValueError):
        return False


def start_child(work, folder):
    """Start a child that works until it is done or killed; return its process id."""
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


def wait_for_end(child, moment):
    """Wait until `moment()` is true or the child ends; return the result of waitpid."""
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
        "--longest", type=float, default=0.5, help="maximum lifetime of a child in seconds"
    )
    options = parser.parse_args()
    jobs = jobs_of(options.members) if options.members else None
    work = (
        (lambda folder: population(folder, jobs))
        if jobs
        else (lambda folder: single(folder, SINGLE))
    )
    undisturbed = Path("undisturbed")
    shutil.rmtree(undisturbed, ignore_errors=True)
    work(undisturbed)  # also the warm-up: everything is imported and has run once
    expected_digest = digest(undisturbed)
    if options.control:
        checkpoints_module.Checkpoints.save, checkpoints_module.Checkpoints.resume = (
            OverwritingCheckpoints.save,
            OverwritingCheckpoints.resume,
        )
        from mlplab.runs import resume_checks

        resume_checks.newest = OverwritingCheckpoints.newest
    files.write_bytes_atomic = checkpoints_module.write_bytes_atomic = slow_write
    rng = random.Random(options.seed)
    kills = inside = lost = runs = differing = attempts = 0
    started = time.monotonic()
    while kills < options.kills:
        folder = Path(f"run{runs}")
        while not finished(folder, options.members):
            attempts += 1
            child = start_child(work, folder)
            deadline = time.monotonic() + rng.uniform(0.02, options.longest)
            ended, status = wait_for_end(
                child, lambda deadline=deadline: time.monotonic() >= deadline
            )
            if not ended and rng.random() < AIMED:
                # not always the next write: each child must make progress
                target = (SEEN[BEGUN] + rng.randint(1, 3)) % 256
                ended, status = wait_for_end(child, lambda target=target: SEEN[BEGUN] == target)
                time.sleep(0 if ended else rng.uniform(0, 0.8 * CHUNKS * PAUSE))
            if not ended:
                was_inside = SEEN[INSIDE] == 1
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                kills, inside = kills + 1, inside + was_inside
            elif os.waitstatus_to_exitcode(status):
                lost += 1  # it could not resume
                reason = Path("failed.txt").read_text().strip().splitlines()[-1]
                shutil.rmtree(folder, ignore_errors=True)
            # a control that always loses never ends
            if kills >= (options.kills if options.control else 3 * options.kills + 100):
                break
        runs += 1
        differing += finished(folder, options.members) and digest(folder) != expected_digest
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
                "seed": options.seed,
                "members": options.members,
                "why": locals().get("reason", ""),
            }
        )
    )


if __name__ == "__main__":
    main()
