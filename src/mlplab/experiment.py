"""A run from start to end: data, network, loss, optimizer, training, results; or its resumption."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab import runs
from mlplab.ensembles.run_ensemble import resume_ensemble, run_ensemble
from mlplab.io.links import open_to_append
from mlplab.mirroring.process import check_trackers, mirrored
from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.checkpoints import Saved
from mlplab.runs.distributed_run import run_rank
from mlplab.runs.health import findings_json
from mlplab.runs.initial_weights import origin_of_weights, with_initial_weights
from mlplab.runs.log import log_to
from mlplab.runs.recipe_text import note_recipe
from mlplab.runs.record import Record
from mlplab.runs.resume_checks import (
    check_compatible,
    find_checkpoint,
    is_finished,
    refuse_shorter,
    with_saved_engine,
)
from mlplab.runs.run import Run, load
from mlplab.runs.run_training import TrainingProcess, create_run_folder, models
from mlplab.settings import Settings
from mlplab.terminal.output import announce, note
from mlplab.training import (
    Callback,
    DataCache,
    FrameRecorder,
    PreparedMember,
    Session,
    check_callbacks,
    prepare_members,
)
from mlplab.training.time_limit import TimeLimit, reopen

if TYPE_CHECKING:
    from mlplab.pictures.rendering.live_plotter import LivePlotter

OnResult = Callable[[Run], None]
"""Called with a run once its results are written."""

DRAWING = ".drawing"
"""File of a run whose training is done and whose pictures are not all drawn yet."""


def run(
    settings: Settings,
    folder: Path | None = None,
    quiet: bool = False,
    cache: DataCache | None = None,
    callbacks: Sequence[Callback] = (),
    on_result: OnResult | None = None,
) -> Run:
    """Train one network and write its run folder: `folder`, or a new one below outputs/.

    Returns the finished run; one that diverged or was interrupted has that status. `on_result` is
    called with it before its pictures are drawn. The prepared data is left in `cache` for the
    caller. Raises DataError, IncompatibleSettingsError or
    FolderError for invalid input, before a folder is created. If training or a callback raises,
    the folder has the status `failed`.
    """
    check_callbacks(callbacks)
    check_trackers(settings.tracking.mirror)
    if settings.ensemble is not None:
        return run_ensemble(settings, folder, quiet, cache, callbacks, on_result)
    with TrainingProcess.started(settings) as process:
        settings = with_initial_weights(settings)
        if process.is_follower:
            run_rank(settings, process.signals, process.group, callbacks)
        member = prepare_members([settings], cache)[0]
        session, device = process.session(member)
        with create_run_folder(settings, folder) as owner, log_to(owner.path) as log:
            log.info("device %s", device)
            if (origin := origin_of_weights(settings, member, session)) is not None:
                log.info(origin)
                if not quiet:
                    note(origin)
            if not quiet:
                announce(owner.path)
            note_recipe(member.settings, log, quiet)
            return _train_and_record(
                owner.path, member, session, process, log, quiet, callbacks, on_result
            )


def resume(
    folder: Path,
    settings: Settings,
    quiet: bool = False,
    step: int | None = None,
    allowed: Sequence[str] = (),
    cache: DataCache | None = None,
    callbacks: Sequence[Callback] = (),
    on_result: OnResult | None = None,
) -> Run:
    """Finish the run in a folder, from its newest valid checkpoint or that of `step`.

    A finished run is returned unchanged, but one that ended while its pictures were drawn gets the
    rest. `on_result` is called with the run before its pictures are drawn. The prepared data is
    left in `cache` for the caller. The keys in `allowed` may differ from the checkpoint's settings.
    Raises CheckpointError, StateError or FolderError (all ValueErrors) if the checkpoint is damaged
    or belongs to another run.
    """
    check_callbacks(callbacks)
    settings = with_initial_weights(replace(settings, folder=folder))
    check_trackers(settings.tracking.mirror)
    if settings.ensemble is not None:
        return resume_ensemble(folder, settings, quiet, step, allowed, cache, callbacks, on_result)
    with TrainingProcess.started(settings) as process:
        if process.is_follower:
            run_rank(settings, process.signals, process.group, callbacks, folder, step, allowed)
        with runs.RunFolder.locked(folder):
            drawn = not os.path.lexists(folder / DRAWING)
            if step is None and is_finished(folder, allowed) and drawn:
                finished = load(folder)
                if on_result is not None:
                    on_result(finished)
                return finished
            saved, warnings = find_checkpoint(folder, step)
            if step is None:
                refuse_shorter(folder, saved, settings)
            member = prepare_members([with_saved_engine(settings, saved, allowed)], cache)[0]
            session, device = process.session(member)
            with log_to(folder) as log:
                log.info("resumed; device %s", device)
                for warning in warnings:
                    log.warning(warning)
                check_compatible(folder, saved, member, session.device, allowed, log)
                return _train_and_record(
                    folder,
                    member,
                    session,
                    process,
                    log,
                    quiet,
                    callbacks,
                    on_result,
                    saved,
                    resumed=True,
                )


def _train_and_record(
    folder: Path,
    member: PreparedMember,
    session: Session,
    process: TrainingProcess,
    log: logging.Logger,
    quiet: bool,
    callbacks: Sequence[Callback],
    on_result: OnResult | None,
    saved: Saved | None = None,
    resumed: bool = False,
) -> Run:
    """Train, and write the results; from the start, or from a checkpoint."""
    settings, preprocessing = member.settings, Preprocessing.of(member.prepared)
    (group,), recorder = session.groups, FrameRecorder()
    checkpointer = process.checkpointer(folder, member, session, recorder, log, quiet)
    if saved is not None:
        checkpointer.restore(group, saved)
        reopen(group)
    time_limit = TimeLimit()
    time_limit.include(group, checkpointer.elapsed_before.wall)
    data_hash, history = member.prepared.data_hash, group.history_buffer
    resumed_from = group.stepper.step if resumed else None
    with (
        contextlib.ExitStack() as mirror,  # which ends after the status of a failure is written
        contextlib.closing(checkpointer),
        Record(folder, settings, preprocessing, data_hash, history, resumed_from) as record,
    ):
        mirror.enter_context(mirrored(folder, settings.tracking.mirror))
        plotter = _live_plotter(record, member, recorder, log, quiet)
        session.callbacks += [record, *([plotter] if plotter else []), checkpointer, *callbacks]
        if settings.training.time_limit is not None:
            session.callbacks.append(time_limit)
        outcome, stopped_by = process.train(session, settings.name, quiet)
        if outcome.status == "done" and settings.tracking.level != "off":
            checkpointer.save(session, group)
        best, last = models(settings, preprocessing, outcome)
        if plotter is not None and outcome.status == "done":
            open_to_append(folder / DRAWING).close()
        spent, exact = checkpointer.elapsed, checkpointer.exact
        health = findings_json(member, outcome, log, other_starts=True)
        record.write_weights(module := best.module(), last.module())
        size = sum(weights.numel() for weights in module.parameters())
        summary = record.finish(outcome, size, session.device, spent, exact, stopped_by, health)
        log.info("%s: %s", outcome.status, outcome.reason)
        run = Run(folder, settings, summary, outcome.history, best)
        try:
            if on_result is not None:
                on_result(run)
        finally:  # a result that nobody reads has pictures, too
            if plotter is not None and stopped_by is None and process.signals.received is None:
                # the results are written; a signal can only cost pictures
                process.signals.raise_immediately = True
                if plotter.conclude(outcome, quiet):
                    (folder / DRAWING).unlink(missing_ok=True)
        return run


def _live_plotter(
    record: Record,
    member: PreparedMember,
    recorder: FrameRecorder,
    log: logging.Logger,
    quiet: bool,
) -> LivePlotter | None:
    """The callback that draws pictures, if the tracking level has pictures."""
    if member.settings.tracking.level != "full" or record.events is None:
        return None
    from mlplab.pictures.rendering.live_plotter import LivePlotter

    return LivePlotter(record.folder, member, record.events, recorder, log, record.names, quiet)
