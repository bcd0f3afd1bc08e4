"""One page that tells the whole run: data, network, loss, optimizer, train, record. And the same,
from a checkpoint on.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab import runs
from mlplab.io.links import make_folder, refuse_links
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
from mlplab.runs.resume_checks import check_compatible, find, identity, is_finished
from mlplab.runs.run import Run, load
from mlplab.runs.signals import Signals
from mlplab.settings import Settings
from mlplab.terminal.progress import Progress
from mlplab.training import DataCache, Loop, PreparedMember, Row, build_population, prepare_members
from mlplab.training.determinism import determinism
from mlplab.training.distributed import ProcessGroup, process_group

if TYPE_CHECKING:
    from mlplab.pictures.rendering.live_plotter import LivePlotter


def run(
    settings: Settings,
    place: Path | None = None,
    quiet: bool = False,
    cache: DataCache | None = None,
) -> Run:
    """Train one network and leave its folder (at `place`, or a new one below outputs/). Whoever
    needs its data afterwards finds them in `cache`.

    Raises DataError, IncompatibleSettingsError or FolderError for input that is refused, before a
    folder is made. A run that diverges or is interrupted returns with that status; one that raises
    leaves a folder with status `failed`.
    """
    with (
        Signals(at_once=True) as signals,
        determinism(settings.deterministic),
        process_group() as across,
    ):
        member = prepare_members([settings], cache)[0]
        loop, reason = _loop(member, across)
        if across is not None and not across.rank_info.first:
            run_rank(loop, across, signals)
        with _folder(settings, place) as folder, log_to(folder) as log:
            log.info("device %s: %s", loop.population.theta_KP.device, reason)
            return _carry_out(folder, member, loop, signals, log, quiet)


def resume(
    folder: Path,
    settings: Settings,
    quiet: bool = False,
    step: int | None = None,
    allowed: Sequence[str] = (),
) -> Run:
    """Finish the run in a folder with these settings, from its newest good checkpoint, or that of
    `step`; what is done is returned as it is.

    `allowed`: the keys that may differ from those of the checkpoint. Raises ValueError
    (CheckpointError, StateError, FolderError) where the checkpoint cannot be trusted, or is of
    another run.
    """
    with (
        Signals(at_once=True) as signals,
        determinism(settings.deterministic),
        process_group() as across,
    ):
        if across is not None and not across.rank_info.first:
            resume_rank(folder, settings, signals, across, step, allowed)
        with _owned(folder):
            return _resume(folder, settings, quiet, step, allowed, signals, across)


def _resume(
    folder: Path,
    settings: Settings,
    quiet: bool,
    step: int | None,
    allowed: Sequence[str],
    signals: Signals,
    across: ProcessGroup | None,
) -> Run:
    if step is None and is_finished(folder, allowed):
        return load(folder)
    saved, complaints = find(folder, step)
    member = prepare_members([settings])[0]
    loop, reason = _loop(member, across)
    with log_to(folder) as log:
        log.info("resumed; device %s: %s", loop.population.theta_KP.device, reason)
        for complaint in complaints:
            log.warning(complaint)
        check_compatible(folder, saved, member, loop, allowed, log)
        return _carry_out(folder, member, loop, signals, log, quiet, saved, resumed=True)


def _carry_out(
    folder: Path,
    member: PreparedMember,
    loop: Loop,
    signals: Signals,
    log: logging.Logger,
    quiet: bool,
    saved: Saved | None = None,
    resumed: bool = False,
) -> Run:
    """Train and record, from the start or from what was saved."""
    if not signals.hooked:
        log.info("not the main thread: signals are not handled")
    preprocessing = Preprocessing.of(member.prepared)
    make_folder(folder / "checkpoints")
    refuse_links(folder / name for name in ("pictures", "projector"))
    write_data_report(folder, member, quiet)
    checkpoints = Checkpoints(folder / "checkpoints", identity(member, loop))
    keeper = CheckpointCallback(checkpoints, member.settings.tracking, signals, log=log)
    if saved is not None:
        keeper.restore(loop, saved)
    record = Record(
        folder,
        member.settings,
        preprocessing,
        member.prepared.data_hash,
        loop.history_buffer,
        resumed,
    )
    try:
        onlooker = _onlooker(record, member, log, quiet)
        if onlooker is not None:
            loop.observers.append(onlooker.observe)
            keeper.watch(onlooker.recorder, saved)
        loop.after_step = (
            keeper
            if loop.process_group is None
            else sync_signals(loop.process_group, signals, keeper)
        )
        _train(loop, record, member, signals, quiet)
        outcome = loop.outcomes()[0]
        if outcome.status == "done" and member.settings.tracking.level != "off":
            keeper.save(loop)
        best, last = (
            to_module(member.settings, preprocessing, theta, buffers, member.settings.loss)
            for theta, buffers in (
                (outcome.theta_P, outcome.buffers),
                (outcome.last_theta_P, outcome.last_buffers),
            )
        )
        stopped_by = signals.received if outcome.status == "interrupted" else None
        device = str(loop.population.theta_KP.device)
        summary = record.finish(
            outcome, best, last, device, keeper.elapsed, keeper.exact, stopped_by
        )
        log.info("%s: %s", outcome.status, outcome.reason)
        if onlooker is not None and signals.received is None:
            signals.at_once = True  # the results are written; a signal only costs pictures now
            onlooker.conclude(outcome, quiet)
        return Run(folder, member.settings, summary, outcome.history, preprocessing, best)
    except BaseException:
        record.fail(traceback.format_exc())
        raise
    finally:
        record.close()
        checkpoints.close()


def _loop(member: PreparedMember, across: ProcessGroup | None) -> tuple[Loop, str]:
    population, reason = build_population([member])
    loop = Loop(population)
    if across is not None:
        check_distributed_support(member.settings)
        loop.process_group, reason = across, f"{reason}; one of {across.rank_info.size} processes"
    return loop, reason


def _onlooker(
    record: Record, member: PreparedMember, log: logging.Logger, quiet: bool
) -> LivePlotter | None:
    """Who draws, at the level of tracking that has pictures."""
    if member.settings.tracking.level != "full" or record.events is None:
        return None
    from mlplab.pictures.rendering.live_plotter import LivePlotter

    return LivePlotter(record.folder, member, record.events, log, record.names, quiet)


def _train(
    loop: Loop, record: Record, member: PreparedMember, signals: Signals, quiet: bool
) -> None:
    """Until the end or a signal, whichever comes first; what was reached is kept either way."""
    total = max(loop.population.early_stopping.last_step_K.tolist())
    with Progress(total, member.settings.name, quiet=quiet, unit="steps") as bar:

        def listen(rows: Sequence[Row], names: tuple[str, ...]) -> None:
            record.rows(rows, names)
            bar.update(rows[-1].step, dict(zip(names, rows[-1].values[:, 0].tolist(), strict=True)))

        loop.listener = listen
        signals.at_once = False  # from here on a signal is honored between two steps
        with contextlib.suppress(KeyboardInterrupt):
            signals.check()
            loop.run()


@contextlib.contextmanager
def _folder(settings: Settings, place: Path | None) -> Iterator[Path]:
    folder = (
        runs.create(place)
        if place is not None
        else runs.unique(runs.default_folder(Path("outputs"), settings.name))
    )
    try:
        yield folder.path
    finally:
        folder.close()


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[None]:
    with runs.RunFolder(folder) as owner:
        owner.lock()
        yield
