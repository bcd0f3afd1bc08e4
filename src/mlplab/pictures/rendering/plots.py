"""The pictures of a run as matplotlib figures, on demand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlplab.config.suggestions import did_you_mean, listing
from mlplab.errors import IncompatibleSettingsError, PlaybackError
from mlplab.extras import installed, require
from mlplab.pictures.run_study import study_of
from mlplab.runs.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlplab.pictures.registry import Picture
    from mlplab.pictures.study import Study


class Plots:
    """The pictures of a run: `run.plot.curves()`, `run.plot.decision()`, ..., each a figure.

    Every picture of `mlplab report` that applies to the run has a method of its name, and so do
    those that `mlplab.pictures.registry.picture` registers. They need the extra `pictures`.

        run.plot.decision(epoch=20, dark=True).savefig("decision.png")

    `epoch` is that of the weights that are drawn, the best one by default; the nearest evaluation
    that the run saved is used. `dark` draws for a dark page.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., Figure]:
        if name.startswith("_"):
            raise AttributeError(name)
        require("run.plot", "pictures", "matplotlib")
        known = self._pictures
        if name not in known:
            raise AttributeError(
                f"there is no picture `{name}`."
                f" {did_you_mean(name, known, 'run.plot.{}()')}Pictures: {listing(known)}"
            )

        def draw(*, epoch: int | None = None, dark: bool = False) -> Figure:
            return self._draw(known[name], epoch, dark)

        draw.__name__ = draw.__qualname__ = name
        draw.__doc__ = known[name].meaning
        return draw

    def __dir__(self) -> list[str]:
        return list(self._pictures) if installed("matplotlib") else []

    def __repr__(self) -> str:
        return f"Plots({listing([f'{name}()' for name in dir(self)])})"

    def __reduce__(self) -> tuple[type[Plots], tuple[Run]]:
        return Plots, (self._run,)  # the study is not pickled

    @property
    def _pictures(self) -> dict[str, Picture]:
        from mlplab.pictures.gallery import pictures

        return {picture.name: picture for picture in pictures()}

    @cached_property
    def _study(self) -> Study:
        return study_of(self._run, needs_frames=False)

    def _draw(self, picture: Picture, epoch: int | None, dark: bool) -> Figure:
        from mlplab.pictures.rendering.drawing import draw_figure
        from mlplab.pictures.style import darken

        study = self._study
        figure = draw_figure(study, picture, self._frame(epoch))
        if figure is None:
            others = [p.name for p in self._pictures.values() if p.applies(study) and p != picture]
            raise IncompatibleSettingsError(
                f"The picture `{picture.name}` does not apply to this run"
                f" ({'classes' if study.classifies else 'values'}, {len(study.network.layers) - 1}"
                f" hidden layers, {len(study.history)} evaluations). These do: {listing(others)}."
            )
        return darken(figure) if dark else figure

    def _frame(self, epoch: int | None) -> int:
        study = self._study
        if epoch is None:
            return study.best_frame
        epochs = study.frames.epoch
        if len(epochs) == 1 and epoch != epochs[0]:
            raise PlaybackError(
                f"{self._run.folder} stores only its final weights, of epoch {epochs[0]}; with"
                " tracking=full a run stores those of up to 100 evaluations."
            )
        return int(np.abs(epochs - epoch).argmin())
