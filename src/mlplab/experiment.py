"""One page that tells the whole run: data, network, loss, optimizer, train, record."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab import runs
from mlplab.runs.log import log_to
from mlplab.runs.record import Record
from mlplab.runs.run import Preprocessing, Run, member_module
from mlplab.settings import Settings
from mlplab.tracking import Progress
from mlplab.training import Loop, Ready, Row, populate, ready

if TYPE_CHECKING:
    from mlplab.pictures.onlooker import Onlooker


def run(settings: Settings, place: Path | None = None, quiet: bool = False) -> Run:
    """Train one network and leave its folder (at `place`, or a new one below outputs/).

    Raises ValueError (DataError, MisfitError, FolderError) for input that is refused, before a folder is made. A run that diverges or is
    interrupted returns with that status; one that raises leaves a folder with status `failed`.
    """
    member = ready([settings])[0]
    population, reason = populate([member])
    with _folder(settings, place) as folder, log_to(folder) as log:
        preprocessing = Preprocessing.of(member.prepared)
        log.info("device %s: %s", population.theta_KP.device, reason)
        loop = Loop(population)
        record = Record(folder, member.settings, preprocessing, member.prepared.data_hash, loop.journal.names)
        onlooker = _onlooker(record, member, log)
        if onlooker is not None:
            loop.observers.append(onlooker.observe)
        try:
            _train(loop, record, member, quiet)
            outcome = loop.outcomes()[0]
            best, last = (
                member_module(member.settings, preprocessing, theta, buffers, member.settings.loss)
                for theta, buffers in ((outcome.theta_P, outcome.buffers), (outcome.last_theta_P, outcome.last_buffers))
            )
            summary = record.finish(outcome, best, last, str(population.theta_KP.device), population=1)
            log.info("%s: %s", outcome.status, outcome.reason)
            if onlooker is not None:
                onlooker.conclude(outcome, quiet)
            return Run(folder, member.settings, summary, outcome.history, preprocessing, best)
        except BaseException:
            record.fail(traceback.format_exc())
            raise
        finally:
            record.close()


def _onlooker(record: Record, member: Ready, log: logging.Logger) -> Onlooker | None:
    """Who draws, at the level of tracking that has pictures."""
    if member.settings.tracking.level != "full" or record.events is None:
        return None
    from mlplab.pictures.onlooker import Onlooker

    return Onlooker(record.folder, member, record.events, log, record.names)


def _train(loop: Loop, record: Record, member: Ready, quiet: bool) -> None:
    """Until the end or Ctrl-C, whichever comes first; what was reached is kept either way."""
    total = max(loop.now.watch.last_step_K.tolist())
    with Progress(total, member.settings.name, quiet=quiet, unit="steps") as bar:

        def listen(rows: Sequence[Row], names: tuple[str, ...]) -> None:
            record.rows(rows, names)
            bar.update(rows[-1].step, dict(zip(names, rows[-1].values[:, 0].tolist(), strict=True)))

        loop.listener = listen
        with contextlib.suppress(KeyboardInterrupt):
            loop.run()


@contextlib.contextmanager
def _folder(settings: Settings, place: Path | None) -> Iterator[Path]:
    folder = runs.create(place) if place is not None else runs.unique(runs.default_place(Path("outputs"), settings.name))
    try:
        yield folder.path
    finally:
        folder.close()
