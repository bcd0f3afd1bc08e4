"""Pictures over the steps of a training, for the image slider of TensorBoard."""

import struct

from mlplab.pictures.gallery import pictures
from mlplab.pictures.registry import Picture
from mlplab.pictures.rendering.image_steps import MAX_IMAGES, MIN_IMAGES, spread
from mlplab.pictures.study import Study
from mlplab.pictures.style import DPI as FILE_DPI
from mlplab.pictures.style import png, resized, style
from mlplab.tracking import EventWriter

DPI = 80


class StepImages:
    """Draws the moving pictures in turn into an event file, after those that the earlier event
    files of the run show.
    """

    def __init__(self, events: EventWriter) -> None:
        self.events = events
        self.moving = [picture for picture in pictures() if picture.moving]
        self.drawn_steps = {
            picture.name: events.steps_before(picture.name) for picture in self.moving
        }

    @property
    def lacks_images(self) -> bool:
        """Whether the decision would have too few images should the training end now."""
        return len(self.drawn_steps.get("decision", ())) < MIN_IMAGES

    def next_frames(self, picture: Picture, study: Study, number: int) -> list[int]:
        """Return up to `number` frames of the study after the last one at which the picture was
        drawn, spread up to the last frame; more for a decision that would have too few images.
        """
        drawn_steps = self.drawn_steps[picture.name]
        num_drawn, last_step = len(drawn_steps), max(drawn_steps, default=-1)
        if picture.name == "decision":
            number = max(number, MIN_IMAGES - num_drawn)
        number = min(number, max(1, MAX_IMAGES - num_drawn))
        steps = study.frames.step.tolist()
        later = [frame for frame, step in enumerate(steps) if step > last_step]
        return [later[i] for i in spread(len(later), number, bool(num_drawn))]

    def draw_next(self, study: Study) -> None:
        """Draw the picture that was drawn least often so far, at the last frame of the study.

        Images are written in the order of steps, so the decision is drawn first at the start and in
        between if it would have too few images should the training end here.
        """
        picture = min(self.moving, key=lambda p: len(self.drawn_steps[p.name]))
        for frame in self.next_frames(picture, study, 1):
            self.draw(picture, study, frame)

    def draw(self, picture: Picture, study: Study, frame: int) -> None:
        """Draw one picture at one frame; a picture that does not apply to the run is dropped."""
        with style():
            figure = picture.draw(study, frame)
            if figure is None:
                self.moving.remove(picture)
                return
            png_bytes = png(figure, DPI)
        self._write(picture, study, frame, png_bytes)

    def reuse(self, picture: Picture, study: Study, frame: int, png_bytes: bytes) -> None:
        """Write a picture that was drawn as a file, which takes a tenth of drawing it again."""
        self._write(picture, study, frame, resized(png_bytes, DPI / FILE_DPI))

    def _write(self, picture: Picture, study: Study, frame: int, png_bytes: bytes) -> None:
        step = int(study.frames.step[frame])
        width, height = struct.unpack(">II", png_bytes[16:24])
        self.events.image(picture.name, step, png_bytes, width, height)
        self.drawn_steps[picture.name].add(step)
