"""A packed ensemble from start to end, as one run in one folder; or its resumption."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mlplab.ensembles.checkpoint import PackedCheckpoints
from mlplab.ensembles.networks import Packed
from mlplab.ensembles.results import Result, outcome_of, write_results
from mlplab.ensembles.session_callbacks import MemberLogs, SelectionRows
from mlplab.mirroring.process import mirrored
from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.checkpoints import Saved
from mlplab.runs.flat_config import all_overrides
from mlplab.runs.folder import RunFolder
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
from mlplab.runs.run_training import TrainingProcess, create_run_folder
from mlplab.settings import Settings
from mlplab.terminal.output import announce
from mlplab.terminal.progress import Progress
from mlplab.training import Callback, DataCache, PreparedMember, Session
from mlplab.training.time_limit import TIME_LIMIT, TimeLimit, reopen

OnResult = Callable[[Run], None]


def run_ensemble(
    settings: Settings,
    folder: Path | None,
    quiet: bool,
    cache: DataCache | None,
    callbacks: Sequence[Callback],
    on_result: OnResult | None,
) -> Run:
    """Train a packed ensemble and write its run folder. The arguments and errors are those of
    `experiment.run`.
    """
    with TrainingProcess.started(settings) as process:
        packed = Packed.prepare(settings, cache, process)
        with create_run_folder(settings, folder) as owner, log_to(owner.path) as log:
            if not quiet:
                announce(owner.path)
            return _train_and_record(owner.path, packed, process, log, quiet, callbacks, on_result)


def resume_ensemble(
    folder: Path,
    settings: Settings,
    quiet: bool,
    step: int | None,
    allowed: Sequence[str],
    cache: DataCache | None,
    callbacks: Sequence[Callback],
    on_result: OnResult | None,
) -> Run:
    """Finish the packed ensemble in a folder, to the same bits as without the interruption. The
    arguments and errors are those of `experiment.resume`.
    """
    with TrainingProcess.started(settings) as process, RunFolder.locked(folder):
        if step is None and is_finished(folder, allowed):
            finished = load(folder)
            if on_result is not None:
                on_result(finished)
            return finished
        saved, warnings = find_checkpoint(folder, step)
        if step is None:
            refuse_shorter(folder, saved, settings)
        # keys that were typed once are not sampled
        typed = tuple(all_overrides(folder, settings.overrides))
        settings = replace(with_saved_engine(settings, saved, allowed), overrides=typed)
        packed = Packed.prepare(settings, cache, process)
        with log_to(folder) as log:
            for warning in warnings:
                log.warning(warning)
            check_compatible(folder, saved, packed.member, packed.session.device, allowed, log)
            return _train_and_record(
                folder, packed, process, log, quiet, callbacks, on_result, saved, resumed=True
            )


def _train_and_record(
    folder: Path,
    packed: Packed,
    process: TrainingProcess,
    log: logging.Logger,
    quiet: bool,
    callbacks: Sequence[Callback],
    on_result: OnResult | None,
    saved: Saved | None = None,
    resumed: bool = False,
) -> Run:
    """Train, and write the results; from the start, or from a checkpoint."""
    settings, member, session = packed.settings, packed.member, packed.session
    log.info("%d members in training; device %s", len(packed.training.overrides), session.device)
    note_recipe(member.settings, log, quiet)
    rows = SelectionRows(packed)
    checkpoints = process.checkpoints(folder, member, session, log, quiet)
    checkpointer = PackedCheckpoints(
        checkpoints, settings.tracking, process.signals, packed.training, log=log
    )
    if saved is not None:
        checkpointer.restore_session(session, saved)
        for group in session.groups:
            reopen(group)
        rows.restore()
    preprocessing, data_hash = Preprocessing.of(member.prepared), member.prepared.data_hash
    resumed_from = checkpointer.step_of(session, session.groups[0]) if resumed else None
    with (
        contextlib.ExitStack() as mirror,  # which ends after the status of a failure is written
        contextlib.closing(checkpointer),
        Record(folder, settings, preprocessing, data_hash, rows.buffer, resumed_from) as record,
    ):
        mirror.enter_context(mirrored(folder, settings.tracking.mirror))
        logs = MemberLogs(record)
        logs.write_earlier(session)
        session.callbacks += [packed.training, logs, checkpointer, *callbacks]
        if settings.training.time_limit is not None:
            session.callbacks.append(_time_limit(session, checkpointer.elapsed_before.wall))
        stopped, stopped_by = _train(packed, rows, record, checkpointer, process, quiet)
        spent, exact = checkpointer.elapsed, checkpointer.exact
        result = Result.of(packed)
        outcome = outcome_of(packed, result, rows.buffer.histories()[0], stopped, folder)
        size = write_results(folder, packed, result)
        together = len(packed.training.networks)
        more = {"members": settings.ensemble, "members_selected": result.num_members}
        summary = record.finish(
            outcome, size, session.device, spent, exact, stopped_by, (), together, more
        )
        log.info("%s: %s", outcome.status, outcome.reason)
        run = Run(folder, settings, summary, outcome.history, result.model)
        try:
            if on_result is not None:
                on_result(run)
        finally:  # a result that nobody reads has pictures, too
            if stopped_by is None and process.signals.received is None:
                # the results are written; a signal can only cost pictures
                process.signals.raise_immediately = True
                _draw(run, member, record, log, quiet)
        return run


def _draw(
    run: Run, member: PreparedMember, record: Record, log: logging.Logger, quiet: bool
) -> None:
    """Draw the pictures of a finished ensemble, if the tracking level has pictures."""
    if run.settings.tracking.level != "full" or record.events is None:
        return
    from mlplab.pictures.rendering.final_figures import FinalFigures
    from mlplab.pictures.run_study import study_of_ensemble

    with contextlib.suppress(KeyboardInterrupt):
        study = study_of_ensemble(run, member)
        FinalFigures(run.folder, record.events, log).draw(study, quiet)


def _time_limit(session: Session, elapsed: float) -> TimeLimit:
    """The limit of all groups, which have one clock; `elapsed` is the time before a resume."""
    limit = TimeLimit()
    for group in session.groups:
        limit.include(group, elapsed)
    return limit


def _train(
    packed: Packed,
    rows: SelectionRows,
    record: Record,
    checkpointer: PackedCheckpoints,
    process: TrainingProcess,
    quiet: bool,
) -> tuple[bool, int | None]:
    """Train until the end, a signal or the time limit; return whether a signal stopped it, and
    which one. Before the end, the ensemble is selected from what there is, after a checkpoint.
    """
    session, training = packed.session, packed.training
    ended_early = False

    def after_round() -> bool:
        nonlocal ended_early
        reasons = [reason for group in session.groups for reason in group.reasons.values()]
        ended_early = any(reason.startswith(TIME_LIMIT) for reason in reasons)
        return not ended_early

    def after_selection() -> None:
        bar.update(training.epoch, rows.report(session, record))
        checkpointer.after_selection(session)

    def train() -> None:
        with session.started():
            training.run(session, after_round, after_selection)

    with Progress(packed.max_epochs, packed.settings.name, quiet=quiet) as bar:
        stopped, stopped_by = process.until_stopped(train)
    # a signal has saved, and an exception may come from within a step
    if not stopped and packed.settings.tracking.level != "off":
        checkpointer.save(session, session.groups[0])
    if (stopped or ended_early) and (epoch := packed.epoch) > training.epoch:
        training.select(session, epoch)
        rows.report(session, record)
    return stopped, stopped_by
