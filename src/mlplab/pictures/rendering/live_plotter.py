"""Draws a network while it trains: some pictures during the training, all of them at its end.

The plotter only copies the state of the training. It never changes a number of the training, and
its errors do not affect the results.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.extras import installed, missing
from mlplab.pictures.rendering.final_figures import FinalFigures, safely, write_chart_layout
from mlplab.pictures.rendering.time_budget import Budget
from mlplab.pictures.study import Study
from mlplab.runs.frames_file import save_frames
from mlplab.terminal.output import note
from mlplab.tracking import EventWriter
from mlplab.training import (
    Callback,
    Evaluation,
    FrameRecorder,
    Group,
    Outcome,
    PreparedMember,
    Session,
    select_frames,
)
from mlplab.training.frames import snapshot
from mlplab.training.history import History

if TYPE_CHECKING:
    from mlplab.pictures.rendering.step_images import StepImages

IMPORT_SECONDS = 0.5  # estimate for the first picture, including the import of matplotlib


class LivePlotter(Callback):
    """Draws a run in training; `conclude` is called once the results of the run are written."""

    def __init__(
        self,
        folder: Path,
        member: PreparedMember,
        events: EventWriter,
        recorder: FrameRecorder,
        log: logging.Logger,
        names: tuple[str, ...],
        quiet: bool = False,
    ) -> None:
        self.folder, self.member, self.events, self.log = folder, member, events, log
        fraction = member.settings.tracking.picture_share
        self.recorder = recorder
        self.picture_budget = Budget(0.7 * fraction, IMPORT_SECONDS)
        self.histogram_budget = Budget(0.3 * fraction, 0.0)
        self.has_matplotlib = installed("matplotlib")
        self._study: Study | None = None
        self._step_images: StepImages | None = None
        if not self.has_matplotlib:
            text = f"no pictures: {missing('drawing', 'pictures', 'matplotlib')}"
            log.warning(text)
            if not quiet:
                note(text)
        write_chart_layout(events, names, log)

    def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
        """Record a frame; if the budgets allow it, also write distributions and one picture."""
        self.recorder.on_evaluation(session, evaluation)
        if self.histogram_budget.allows():
            with self.histogram_budget.spend(), safely(self.log, "distributions"):
                from mlplab.pictures.tensorboard_extras import distributions, gradients

                study = self._current_study(evaluation)
                distributions(self.events, study, [len(study.frames) - 1])
                gradients(self.events, study, evaluation.population, evaluation.step)
        if (
            self.has_matplotlib
            and self.picture_budget.fraction > 0
            and self.picture_budget.allows()
        ):
            with self.picture_budget.spend(), safely(self.log, "a picture while training"):
                study = self._current_study(evaluation)
                if study.frames.theta_RP.isfinite().all():
                    step_images = self._open_step_images()
                    step_images.draw_next(
                        self._since_start(study) if step_images.lacks_images else study
                    )

    def evaluations_to_skip(self, session: Session, group: Group) -> int:
        return self.recorder.evaluations_to_skip(session, group)

    def _current_study(self, evaluation: Evaluation) -> Study:
        frames = snapshot(evaluation)
        if self._study is None:
            self._study = Study(
                self.member.settings, self.member.prepared, frames, 0, History.empty()
            )
        return self._study.with_frames(frames)

    def _since_start(self, study: Study) -> Study:
        """The study with the recorded frames before its frame."""
        now = study.frames
        buffers = {name: value[0] for name, value in now.buffers.items()}
        recorded = self.recorder.frames()
        return study.with_frames(
            recorded.including(int(now.epoch[0]), int(now.step[0]), now.theta_RP[0], buffers)
        )

    def _open_step_images(self) -> StepImages:
        if self._step_images is None:
            from mlplab.pictures.rendering.step_images import StepImages

            self._step_images = StepImages(self.events)
        return self._step_images

    def conclude(self, outcome: Outcome, quiet: bool = False) -> bool:
        """Save the frames and draw everything that is still missing; Ctrl-C skips the rest. Return
        whether everything was drawn.
        """
        try:
            self._draw_all(outcome, quiet)
            return True
        except KeyboardInterrupt:
            self.log.info(
                "interrupted while drawing: some pictures are missing; `mlplab resume` draws them"
            )
            return False

    def _draw_all(self, outcome: Outcome, quiet: bool) -> None:
        frames, best_frame = select_frames(self.recorder, outcome)
        save_frames(self.folder, frames, best_frame)
        study = Study(
            self.member.settings, self.member.prepared, frames, best_frame, outcome.history
        )
        step_images = self._open_step_images() if self.has_matplotlib else None
        FinalFigures(self.folder, self.events, self.log, self.picture_budget, step_images).draw(
            study, quiet
        )
