"""A run from start to end: data, network, loss, optimizer, training, results; or its resumption."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab import runs
from mlplab.io.links import make_folder, refuse_links
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import to_module
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints, Saved
from mlplab.runs.distributed_run import (
    check_distributed_support,
    resume_rank,
    run_rank,
    sync_signals,
)
from mlplab.runs.log import log_to
from mlplab.runs.record import Record, write_data_report
from mlplab.runs.resume_checks import check_compatible, find_checkpoint, identity, is_finished
from mlplab.runs.run import Run, load
from mlplab.runs.signals import Signals
from mlplab.settings import Settings
from mlplab.terminal.progress import Progress
from mlplab.training import (
    DataCache,
    Loop,
    Outcome,
    PreparedMember,
    Row,
    build_population,
    prepare_members,
)
from mlplab.training.determinism import determinism
from mlplab.training.distributed import ProcessGroup, process_group

if TYPE_CHECKING:
    from torch import nn

    from mlplab.pictures.rendering.live_plotter import LivePlotter


def run(
    settings: Settings,
    folder: Path | None = None,
    quiet: bool = False,
    cache: DataCache | None = None,
) -> Run:
    """Train one network and write its run folder: `folder`, or a new one below outputs/.

    Returns the finished run; one that diverged or was interrupted has that status. The prepared
    data is left in `cache` for the caller. Raises DataError, IncompatibleSettingsError or
    FolderError for invalid input, before a folder is created. If training raises, the folder has
    the status `failed`.
    """
    with (
        Signals(raise_immediately=True) as signals,
        determinism(settings.deterministic),
        process_group() as group,
    ):
        member = prepare_members([settings], cache)[0]
        loop, reason = _loop(member, group)
        if group is not None and not group.rank_info.first:
            run_rank(loop, group, signals)
        with _create_folder(settings, folder) as owner, log_to(owner.path) as log:
            log.info("device %s: %s", loop.population.theta_KP.device, reason)
            return _train_and_record(owner.path, member, loop, signals, log, quiet)


def resume(
    folder: Path,
    settings: Settings,
    quiet: bool = False,
    step: int | None = None,
    allowed: Sequence[str] = (),
) -> Run:
    """Finish the run in a folder, from its newest valid checkpoint or that of `step`.

    A finished run is returned unchanged. The keys in `allowed` may differ from the checkpoint's
    settings. Raises CheckpointError, StateError or FolderError (all ValueErrors) if the checkpoint
    is damaged or belongs to another run.
    """
    with (
        Signals(raise_immediately=True) as signals,
        determinism(settings.deterministic),
        process_group() as group,
    ):
        if group is not None and not group.rank_info.first:
            resume_rank(folder, settings, signals, group, step, allowed)
        with runs.RunFolder.locked(folder):
            return _resume(folder, settings, quiet, step, allowed, signals, group)


def _resume(
    folder: Path,
    settings: Settings,
    quiet: bool,
    step: int | None,
    allowed: Sequence[str],
    signals: Signals,
    group: ProcessGroup | None,
) -> Run:
    if step is None and is_finished(folder, allowed):
        return load(folder)
    saved, warnings = find_checkpoint(folder, step)
    member = prepare_members([settings])[0]
    loop, reason = _loop(member, group)
    with log_to(folder) as log:
        log.info("resumed; device %s: %s", loop.population.theta_KP.device, reason)
        for warning in warnings:
            log.warning(warning)
        check_compatible(folder, saved, member, loop, allowed, log)
        return _train_and_record(folder, member, loop, signals, log, quiet, saved, resumed=True)


def _train_and_record(
    folder: Path,
    member: PreparedMember,
    loop: Loop,
    signals: Signals,
    log: logging.Logger,
    quiet: bool,
    saved: Saved | None = None,
    resumed: bool = False,
) -> Run:
    """Train, and write the results; from the start, or from a checkpoint."""
    if not signals.installed:
        log.info("not the main thread: signals are not handled")
    preprocessing = Preprocessing.of(member.prepared)
    refuse_links(folder / name for name in ("pictures", "projector"))
    write_data_report(folder, member, quiet)
    checkpoints = Checkpoints(make_folder(folder / "checkpoints"), identity(member, loop))
    checkpointer = CheckpointCallback(checkpoints, member.settings.tracking, signals, log=log)
    if saved is not None:
        checkpointer.restore(loop, saved)
    data_hash = member.prepared.data_hash
    record = Record(folder, member.settings, preprocessing, data_hash, loop.history_buffer, resumed)
    try:
        live_plotter = _live_plotter(record, member, log, quiet)
        if live_plotter is not None:
            loop.observers.append(live_plotter.observe)
            checkpointer.attach_recorder(live_plotter.recorder, saved)
        loop.after_step = (
            checkpointer
            if loop.process_group is None
            else sync_signals(loop.process_group, signals, checkpointer)
        )
        _train(loop, record, member, signals, quiet)
        outcome = loop.outcomes()[0]
        if outcome.status == "done" and member.settings.tracking.level != "off":
            checkpointer.save(loop)
        best, last = _modules(member.settings, preprocessing, outcome)
        stopped_by = signals.received if outcome.status == "interrupted" else None
        device = str(loop.population.theta_KP.device)
        summary = record.finish(
            outcome, best, last, device, checkpointer.elapsed, checkpointer.exact, stopped_by
        )
        log.info("%s: %s", outcome.status, outcome.reason)
        if live_plotter is not None and signals.received is None:
            # the results are written; a signal can only cost pictures
            signals.raise_immediately = True
            live_plotter.conclude(outcome, quiet)
        model = Model.of_state(member.settings, preprocessing, best.state_dict())
        return Run(folder, member.settings, summary, outcome.history, model)
    except BaseException:
        record.fail(traceback.format_exc())
        raise
    finally:
        record.close()
        checkpoints.close()


def _modules(
    settings: Settings, preprocessing: Preprocessing, outcome: Outcome
) -> tuple[nn.Sequential, nn.Sequential]:
    """The network with its best and with its last weights."""
    best, last = (
        to_module(settings, preprocessing, theta, buffers, settings.loss)
        for theta, buffers in (
            (outcome.theta_P, outcome.buffers),
            (outcome.last_theta_P, outcome.last_buffers),
        )
    )
    return best, last


def _loop(member: PreparedMember, group: ProcessGroup | None) -> tuple[Loop, str]:
    population, reason = build_population([member])
    loop = Loop(population)
    if group is not None:
        check_distributed_support(member.settings)
        loop.process_group, reason = group, f"{reason}; one of {group.rank_info.size} processes"
    return loop, reason


def _live_plotter(
    record: Record, member: PreparedMember, log: logging.Logger, quiet: bool
) -> LivePlotter | None:
    """The callback that draws pictures, if the tracking level has pictures."""
    if member.settings.tracking.level != "full" or record.events is None:
        return None
    from mlplab.pictures.rendering.live_plotter import LivePlotter

    return LivePlotter(record.folder, member, record.events, log, record.names, quiet)


def _train(
    loop: Loop, record: Record, member: PreparedMember, signals: Signals, quiet: bool
) -> None:
    """Train until the end or a signal; the results so far are recorded in both cases."""
    total = max(loop.population.early_stopping.last_step_K.tolist())
    with Progress(total, member.settings.name, quiet=quiet, unit="steps") as bar:

        def listen(rows: Sequence[Row], names: tuple[str, ...]) -> None:
            record.rows(rows, names)
            bar.update(rows[-1].step, dict(zip(names, rows[-1].values[:, 0].tolist(), strict=True)))

        loop.listener = listen
        signals.raise_immediately = False  # from now on a signal takes effect between two steps
        with contextlib.suppress(KeyboardInterrupt):
            signals.check()
            loop.run()


def _create_folder(settings: Settings, path: Path | None) -> runs.RunFolder:
    return (
        runs.create(path)
        if path is not None
        else runs.create_unique(runs.default_folder(Path("outputs"), settings.name))
    )
