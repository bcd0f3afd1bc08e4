"""Draws a finished run: its pictures, and the TensorBoard data that is written once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.extras import installed
from mlplab.pictures import tensorboard_extras
from mlplab.pictures.gallery import pictures
from mlplab.pictures.rendering.image_steps import spread
from mlplab.pictures.rendering.time_budget import Budget
from mlplab.pictures.study import Study
from mlplab.terminal.progress import Progress
from mlplab.tracking import EventWriter

if TYPE_CHECKING:
    from mlplab.pictures.rendering.step_images import StepImages

MAX_DISTRIBUTIONS = 10
"""Frames of which there are distributions, of a network that was not drawn while it trained."""


@contextlib.contextmanager
def safely(log: logging.Logger, subject: str) -> Iterator[None]:
    """Log a picture that fails instead of raising its error."""
    try:
        yield
    except Exception:
        log.exception("could not draw %s; the results of the run are not affected", subject)


def write_chart_layout(events: EventWriter, names: Sequence[str], log: logging.Logger) -> None:
    """Write which curves share a chart; errors are logged."""
    with safely(log, "the layout of charts"):
        tensorboard_extras.chart_layout(events, names)


class FinalFigures:
    """Draws a finished run.

    `budget` and `step_images` are those of the training if it was drawn live.
    """

    def __init__(
        self,
        folder: Path,
        events: EventWriter,
        log: logging.Logger,
        budget: Budget | None = None,
        step_images: StepImages | None = None,
    ) -> None:
        self.folder, self.events, self.log, self.step_images = folder, events, log, step_images
        self.budget = Budget(0.0, 0.0) if budget is None else budget
        self.was_drawn_live = budget is not None
        # tracking.picture_share=0 disables images over the steps.
        self.draws_images = budget is None or budget.fraction > 0

    def draw(self, study: Study, quiet: bool = False) -> None:
        """Draw everything; without matplotlib, only what does not need it."""
        if study.has_network:
            with safely(self.log, "the graph"):
                tensorboard_extras.network_graph(self.events, study)
        with safely(self.log, "precision and recall"):
            tensorboard_extras.recall_curves(
                self.events, study, int(study.frames.step[study.best_frame])
            )
        if study.has_network and not self.was_drawn_live:
            with safely(self.log, "distributions"):
                frames = spread(len(study.frames), MAX_DISTRIBUTIONS)
                tensorboard_extras.distributions(self.events, study, frames)
        if not installed("matplotlib"):
            return
        if study.has_network:
            with safely(self.log, "the projector's vectors"):
                tensorboard_extras.vectors(self.folder, study)
        drawn = self._pictures(study, quiet)
        if self.draws_images and study.has_network:
            self._images(study, drawn)

    def _pictures(self, study: Study, quiet: bool) -> dict[str, bytes]:
        """Draw each picture at the best frame into a file; return the PNG bytes by name."""
        from mlplab.pictures.rendering.drawing import write_picture

        drawn: dict[str, bytes] = {}
        with Progress(len(pictures()), "pictures", quiet=quiet, unit="pictures") as bar:
            for done, picture in enumerate(pictures(), 1):
                with safely(self.log, f"the picture {picture.name}"):
                    png_bytes = write_picture(study, picture, self.folder / "pictures")
                    if png_bytes is not None:
                        drawn[picture.name] = png_bytes
                bar.update(done)
        return drawn

    def _images(self, study: Study, drawn: Mapping[str, bytes]) -> None:
        """Draw each moving picture at frames after its last one, in the order of steps and up to
        the end of the training: TensorBoard's slider keeps the order in which images were written.

        The end is always drawn, and the decision at three steps at least; more if the budget allows
        it. `drawn` has the pictures of the best frame.
        """
        from mlplab.pictures.rendering.step_images import StepImages

        step_images = StepImages(self.events) if self.step_images is None else self.step_images
        affordable = self.budget.affordable() // max(1, len(step_images.moving))
        for picture in list(step_images.moving):
            for frame in step_images.next_frames(picture, study, max(1, affordable)):
                is_drawn = frame == study.best_frame and picture.name in drawn
                with self.budget.spend(), safely(self.log, "a picture over the steps"):
                    if is_drawn:
                        step_images.reuse(picture, study, frame, drawn[picture.name])
                    else:
                        step_images.draw(picture, study, frame)
