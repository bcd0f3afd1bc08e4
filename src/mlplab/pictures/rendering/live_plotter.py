"""Looks on while a network trains, and draws: now and then during the training, everything when it
has ended.

It only copies what it sees. Nothing that it does changes a number of the training, and nothing that
fails in it costs a result.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.extras import installed, missing
from mlplab.pictures.rendering.final_figures import FinalFigures, lay_charts, safely
from mlplab.pictures.rendering.time_budget import Budget
from mlplab.pictures.study import Study
from mlplab.runs.frames_file import save_frames
from mlplab.terminal.output import note
from mlplab.tracking import EventWriter
from mlplab.training import FrameRecorder, Outcome, PreparedMember, select_frames
from mlplab.training.frames import snapshot
from mlplab.training.history import History
from mlplab.training.population import Population

if TYPE_CHECKING:
    from mlplab.pictures.rendering.step_images import StepImages

IMPORT = 0.5  # seconds that the first picture is thought to take, matplotlib's import with it


class LivePlotter:
    """`observe` goes to the loop; `conclude` when the run's results are written."""

    def __init__(
        self,
        folder: Path,
        member: PreparedMember,
        events: EventWriter,
        log: logging.Logger,
        names: tuple[str, ...],
        quiet: bool = False,
    ) -> None:
        self.folder, self.member, self.events, self.log = folder, member, events, log
        share = member.settings.tracking.picture_share
        self.recorder = FrameRecorder()
        self.drawing, self.numbers = Budget(0.7 * share, IMPORT), Budget(0.3 * share, 0.0)
        self.able = installed("matplotlib")
        self._study: Study | None = None
        self._moments: StepImages | None = None
        if not self.able:
            text = f"no pictures: {missing('drawing', 'pictures', 'matplotlib')}"
            log.warning(text)
            if not quiet:
                note(text)
        lay_charts(events, names, log)

    def observe(self, population: Population, epoch: int, step: int) -> None:
        """Every evaluation: keep a frame; where the budgets allow it, distributions and one
        picture.
        """
        self.recorder(population, epoch, step)
        if self.numbers.allows():
            with self.numbers.spend(), safely(self.log, "distributions"):
                from mlplab.pictures.tensorboard_extras import distributions

                distributions(self.events, self._seen(population, epoch, step), population, step)
        if self.able and self.drawing.share > 0 and self.drawing.allows():
            with self.drawing.spend(), safely(self.log, "a picture while training"):
                study = self._seen(population, epoch, step)
                if study.frames.theta_RP.isfinite().all():
                    self._over_steps().draw_next(study, 0)

    def _seen(self, population: Population, epoch: int, step: int) -> Study:
        frames = snapshot(population, epoch, step)
        if self._study is None:
            self._study = Study(
                self.member.settings, self.member.prepared, frames, 0, _no_history()
            )
        return self._study.with_frames(frames)

    def _over_steps(self) -> StepImages:
        if self._moments is None:
            from mlplab.pictures.rendering.step_images import StepImages

            self._moments = StepImages(self.events)
        return self._moments

    def conclude(self, outcome: Outcome, quiet: bool = False) -> None:
        """The frames, then all pictures, the rest of the images over the steps, and what
        TensorBoard shows once. Ctrl-C leaves the rest out.
        """
        try:
            self._write_final_scalars(outcome, quiet)
        except KeyboardInterrupt:
            self.log.info(
                "interrupted while drawing: some pictures are missing; mlplab report draws them"
            )

    def _write_final_scalars(self, outcome: Outcome, quiet: bool) -> None:
        frames, chosen = select_frames(self.recorder, outcome)
        save_frames(self.folder, frames, chosen)
        study = Study(self.member.settings, self.member.prepared, frames, chosen, outcome.history)
        FinalFigures(self.folder, self.events, self.log, self.drawing, self._moments).draw(
            study, quiet
        )


def _no_history() -> History:
    import numpy as np

    none = np.zeros(0)
    return History((), none.astype(int), none.astype(int), none, np.zeros((0, 0)))
