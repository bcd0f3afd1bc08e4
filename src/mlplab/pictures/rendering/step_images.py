"""Pictures over the steps of a training, for the image slider of TensorBoard."""

import struct

from mlplab.pictures.gallery import pictures
from mlplab.pictures.registry import Picture
from mlplab.pictures.rendering.image_steps import MIN_IMAGES, spread
from mlplab.pictures.study import Study
from mlplab.pictures.style import png, style
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

    def last_step(self, picture: Picture) -> int:
        """Return the last step at which the picture was drawn; -1 if none."""
        return max(self.drawn_steps[picture.name], default=-1)

    def draw_next(self, study: Study) -> None:
        """Draw the picture that was drawn least often so far, at the last frame of the study.

        Images are written in the order of steps, so the decision is drawn first at the start and in
        between if it would have too few images should the training end here.
        """
        picture = min(self.moving, key=lambda p: len(self.drawn_steps[p.name]))
        number, drawn = 1, len(self.drawn_steps[picture.name])
        if picture.name == "decision" and self.lacks_images:
            number = MIN_IMAGES - drawn
        steps = study.frames.step.tolist()
        later = [i for i, step in enumerate(steps) if step > self.last_step(picture)]
        for i in spread(len(later), number, bool(drawn)):
            self.draw(picture, study, later[i])

    def draw(self, picture: Picture, study: Study, frame: int) -> None:
        """Draw one picture at one frame; a picture that does not apply to the run is dropped."""
        with style():
            figure = picture.draw(study, frame)
            if figure is None:
                self.moving.remove(picture)
                return
            png_bytes = png(figure, DPI)
        step = int(study.frames.step[frame])
        width, height = struct.unpack(">II", png_bytes[16:24])
        self.events.image(picture.name, step, png_bytes, width, height)
        self.drawn_steps[picture.name].add(step)
