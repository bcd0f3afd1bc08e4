"""Looks on while a network trains, and draws: now and then during the training, everything when it has ended.

It only copies what it sees. Nothing that it does changes a number of the training, and nothing that fails in it costs a result.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.pictures.pace import Budget
from mlplab.pictures.study import Study
from mlplab.runs.frames_file import save_frames
from mlplab.tracking import EventWriter, Progress
from mlplab.training import FrameRecorder, Outcome, Ready, concluded
from mlplab.training.frames import snapshot
from mlplab.training.history import History
from mlplab.training.population import Population

if TYPE_CHECKING:
    from mlplab.pictures.moments import Moments

IMPORT = 0.5  # seconds that the first picture is thought to take, matplotlib's import with it
LEAST = 0.25  # seconds beyond the share for images over the steps, so that a short run has some too
MOST_IMAGES = 40  # of one kind
MISSING = "no pictures: matplotlib is not installed (pip install 'mlplab[pictures]')"


class Onlooker:
    """`observe` goes to the loop; `conclude` when the run's results are written."""

    def __init__(self, folder: Path, member: Ready, events: EventWriter, log: logging.Logger, names: tuple[str, ...]) -> None:
        self.folder, self.member, self.events, self.log = folder, member, events, log
        share = member.settings.tracking.picture_share
        self.recorder = FrameRecorder()
        self.drawing, self.numbers = Budget(0.7 * share, IMPORT), Budget(0.3 * share, 0.0)
        self.able = find_spec("matplotlib") is not None
        self._study: Study | None = None
        self._moments: Moments | None = None
        if not self.able:
            log.warning(MISSING)
        with self._safely("the layout of charts"):
            from mlplab.pictures.board import chart_layout

            chart_layout(events, names)

    def observe(self, population: Population, epoch: int, step: int) -> None:
        """Every evaluation: keep a frame; where the budgets allow it, distributions and one picture."""
        self.recorder(population, epoch, step)
        if self.numbers.allows():
            with self.numbers.spend(), self._safely("distributions"):
                from mlplab.pictures.board import distributions

                distributions(self.events, self._seen(population, epoch, step), population, step)
        if self.able and self.drawing.share > 0 and self.drawing.allows():
            with self.drawing.spend(), self._safely("a picture while training"):
                study = self._seen(population, epoch, step)
                if study.frames.theta_RP.isfinite().all():
                    self._over_steps().draw_next(study, 0)

    def _seen(self, population: Population, epoch: int, step: int) -> Study:
        frames = snapshot(population, epoch, step)
        if self._study is None:
            self._study = Study(self.member.settings, self.member.prepared, frames, 0, _no_history())
        return self._study.with_frames(frames)

    def _over_steps(self) -> Moments:
        if self._moments is None:
            from mlplab.pictures.moments import Moments

            self._moments = Moments(self.events)
        return self._moments

    def conclude(self, outcome: Outcome, quiet: bool = False) -> None:
        """The frames, then all pictures, the rest of the images over the steps, and what TensorBoard shows once. Ctrl-C leaves the rest out."""
        try:
            self._conclude(outcome, quiet)
        except KeyboardInterrupt:
            self.log.info("interrupted while drawing: some pictures are missing; mlplab report draws them")

    def _conclude(self, outcome: Outcome, quiet: bool) -> None:
        frames, chosen = concluded(self.recorder, outcome)
        study = Study(self.member.settings, self.member.prepared, frames, chosen, outcome.history)
        save_frames(self.folder, frames, chosen)
        from mlplab.pictures import board

        with self._safely("the graph"):
            board.network_graph(self.events, study)
        with self._safely("precision and recall"):
            board.recall_curves(self.events, study, outcome.best_step)
        if not self.able:
            return
        with self._safely("the projector's vectors"):
            board.vectors(self.folder, study)
        self._pictures(study, quiet)
        self._fill(study)

    def _pictures(self, study: Study, quiet: bool) -> None:
        from mlplab.pictures.drawing import write_picture
        from mlplab.pictures.picture import pictures

        with Progress(len(pictures()), "pictures", quiet=quiet, unit="pictures") as bar:
            for done, picture in enumerate(pictures(), 1):
                with self._safely(f"the picture {picture.name}"):
                    write_picture(study, picture, self.folder / "pictures")
                bar.update(done)

    def _fill(self, study: Study) -> None:
        """Images of the decision at moments that went by too fast: the start, the end, and what lies between, as long as the time allows."""
        if self.drawing.share == 0:
            return
        moments = self._over_steps()
        picture = next(p for p in moments.moving if p.name == "decision")
        for frame in _spread(len(study.frames)):
            if not self.drawing.allows(LEAST) or len(moments.drawn[picture.name]) >= MOST_IMAGES:
                return
            if int(study.frames.step[frame]) not in moments.drawn[picture.name]:
                with self.drawing.spend(), self._safely("a picture over the steps"):
                    moments.draw(picture, study, frame)

    @contextlib.contextmanager
    def _safely(self, noun: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.log.exception("%s could not be drawn; the run's results are not touched by it", noun)


def _spread(count: int) -> Iterator[int]:
    """0, the last, the middle, the quarters ...: each next one in the largest gap."""
    seen: set[int] = set()
    parts = 1
    while len(seen) < count:
        for i in range(parts + 1):
            place = round(i * (count - 1) / parts)
            if place not in seen:
                seen.add(place)
                yield place
        parts *= 2


def _no_history() -> History:
    import numpy as np

    none = np.zeros(0)
    return History((), none.astype(int), none.astype(int), none, np.zeros((0, 0)))
