"""One job of a sweep, wherever it is stored: its run folder, or the run in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mlplab.config.run_dir import check_folder
from mlplab.errors import ConfigError, DataError, UnfinishedRunError
from mlplab.io.links import make_folder
from mlplab.runs.ensemble import Predictor
from mlplab.runs.frames_file import has_frames, save_frames
from mlplab.runs.initial_weights import with_initial_weights
from mlplab.runs.packs import FOLDER as PACKS
from mlplab.runs.run import Run, load
from mlplab.runs.run_index import summary_of
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.loaded_jobs import load_jobs, read_packed
from mlplab.sweeps.execution.stores import PackStore, open_store
from mlplab.sweeps.plan.plan import Plan
from mlplab.sweeps.plan.plan_file import ranges_of, read_plan
from mlplab.terminal.output import note
from mlplab.terminal.suggested import resume_command
from mlplab.training import FrameRecorder, select_frames
from mlplab.training.determinism import determinism
from mlplab.training.train import train_population


def open_job(sweep: Path, number: int, out: Path | None = None) -> Path:
    """Return the folder of a job. That of a job in a pack is made, at `out` or jobs/<number> of the
    sweep, unless it is there; it appears complete.

    Raises ConfigError if there is no such job, it has not ended, or it has a folder and `out` names
    another one.
    """
    plan = read_plan(sweep)
    return _open(plan, open_store(plan, sweep), number, out)


def open_jobs(plan: Plan, sweep: Path, numbers: Sequence[int]) -> list[Path]:
    """Return the folders of jobs of a plan, each as `open_job` does."""
    store = open_store(plan, sweep)
    return [_open(plan, store, number) for number in numbers]


def _open(plan: Plan, store: JobStore, number: int, out: Path | None = None) -> Path:
    _require_ended(plan, store, number)
    folder = store.job_folder(number)
    if not isinstance(store, PackStore):
        if out is not None:
            raise ConfigError(f"Job {number} has its folder, {folder}: copy it, or leave out -o.")
        return folder
    if out is None and summary_of(folder).get("status") == store.status(number):
        return folder
    target = make_folder(store.jobs) / str(number) if out is None else check_folder(out, "-o")
    target.parent.mkdir(parents=True, exist_ok=True)
    [(record, folders)] = read_packed(plan, store, [number])
    with store.staging_dir(target.parent) as staging:
        filled = staging / str(number)
        folders.write(filled, record)
        try:
            store.move(filled, target)
        except OSError:  # another process has opened it meanwhile
            if out is not None or summary_of(folder).get("status") != store.status(number):
                raise
    return folder if out is None else out


def add_frames(folder: Path) -> None:
    """Train a job again that has no frames, and store them, if it is the opened folder of a packed
    job. Prints a note if they cannot be made: only the native engine gives the same bits again.
    """
    is_opened = folder.parent.name == "jobs" and (folder.parent.parent / PACKS).is_dir()
    if not is_opened or has_frames(folder):
        return
    run = load(folder)
    if run.status != "done" or run.summary.get("engine") != "native":
        return
    note(f"{folder} is trained again for the frames of its training")
    recorder = FrameRecorder()
    settings = with_initial_weights(replace(run.settings, engine="native"))
    with determinism(settings.deterministic):
        [outcome] = train_population([settings], [recorder])
    if torch.equal(outcome.theta_P, run.model.theta_KP[0]):
        save_frames(folder, *select_frames(recorder, outcome))
    else:
        note("it has other weights now, so that its training cannot be shown")


def _require_ended(plan: Plan, store: JobStore, number: int) -> None:
    """Raise ConfigError unless the plan has the job, and UnfinishedRunError unless it is stored."""
    if not plan.has_job(number):
        numbers = [job.number for job in plan.jobs]
        raise ConfigError(f"{store.folder} has no job {number}: its jobs are {_ranges(numbers)}.")
    store.refresh()
    if store.status(number) is None:
        raise UnfinishedRunError(
            f"Job {number} of {store.folder} has not been trained:"
            f" `{resume_command(store.folder, plan.plugins)}` trains what is missing."
        )


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in order as text, such as "0 to 249, 251"."""
    ends = ranges_of(sorted(numbers))
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in ends]
    return ", ".join(texts[:10]) + (", ..." if len(texts) > 10 else "")


def load_job(sweep: Path, number: int) -> Run:
    """Load a job as `mlplab.load` loads its folder; no folder is made.

    Raises ConfigError if there is no such job, and UnfinishedRunError if it has no weights.
    """
    plan = read_plan(sweep)
    store = open_store(plan, sweep)
    _require_ended(plan, store, number)
    [run] = load_jobs(plan, store, [number])
    return run


def predictor(folder: Path, best: int | None = None) -> Predictor:
    """Load the run in a folder, or the finished jobs of a sweep: all, or the `best` by their loss
    on the validation split (train if there is none).

    Raises DataError if no job is done, or the jobs learned different tasks.
    """
    if not (folder / "plan.yaml").is_file():
        return Predictor((load(folder),))
    plan = read_plan(folder)
    store = open_store(plan, folder)
    store.refresh()
    done = [job.number for job in plan.jobs if store.status(job.number) == "done"]
    if not done:
        raise DataError(f"{folder} has no finished job: there is nothing to predict with.")
    return Predictor.of_jobs(load_jobs(plan, store, _best_jobs(store, done, best)), folder)


def _best_jobs(store: JobStore, numbers: Sequence[int], best: int | None) -> Sequence[int]:
    if best is None:
        return numbers
    metrics = {number: store.summary(number).get("metrics") or {} for number in numbers}
    name = "val/loss" if "val/loss" in metrics[numbers[0]] else "train/loss"

    def loss(number: int) -> float:
        value = metrics[number].get(name)
        return float(value) if isinstance(value, (int, float)) else float("inf")

    return sorted(numbers, key=loss)[:best]
