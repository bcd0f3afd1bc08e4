"""The data of all pictures of a run: its network at some frames of the training, and its examples.

Shapes: R frames, N examples, F features, H units of a layer, C classes or targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlplab.data import Scaler
from mlplab.data.preparation.examples import Prepared
from mlplab.data.scaling import fit_scaler
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import build_structure
from mlplab.network.layout import LayerViews
from mlplab.network.mlp import MLP, Buffers
from mlplab.pictures.colors import palette
from mlplab.pictures.plane import Floats, Plane, fit_plane
from mlplab.runs.ensemble_document import EnsembleDocument
from mlplab.settings import Settings
from mlplab.training import Frames, History

MAX_POINTS = 1000
MAX_EXAMPLES = 20_000


@dataclass(frozen=True)
class Points:
    """A sample of one split: scaled features [N, F] and targets.

    Targets are classes, int64 [N], or values in their original units, [N, T]. The scaled columns
    [N, R], which have a position on the plane, are the features, unless features are computed.
    """

    x: Floats
    y: NDArray[np.float64] | NDArray[np.int64]
    total: int  # number of examples in the split
    columns: Floats

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Study:
    """A run to draw. `best_frame` is the index of the frame with the final weights of the run."""

    settings: Settings
    prepared: Prepared
    frames: Frames
    best_frame: int
    history: History
    ensemble: tuple[Model, EnsembleDocument] | None = None
    """The model of a packed ensemble, which is drawn at its only frame, and its members."""

    @property
    def has_network(self) -> bool:
        """Whether the predictions are those of one network, whose units can be drawn."""
        return self.ensemble is None

    @cached_property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.of(self.prepared)

    @property
    def classifies(self) -> bool:
        return self.prepared.task.classifies

    @cached_property
    def network(self) -> MLP:
        return build_structure(self.settings, self.preprocessing, self.settings.loss)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty for values."""
        return self.prepared.class_names if self.classifies else ()

    @cached_property
    def colors(self) -> tuple[str, ...]:
        """A color for each class."""
        return palette(self.classes)

    @cached_property
    def plane(self) -> Plane:
        preprocessing = self.preprocessing
        has_columns = self.prepared.train.columns is not None
        derive = preprocessing.scaled if has_columns else None
        columns_NR, *others = (self.points(split).columns for split in self.splits)
        return fit_plane(
            columns_NR,
            self._column_scaler,
            preprocessing.column_names,
            derive,
            np.concatenate(others) if others else None,
        )

    @cached_property
    def _column_scaler(self) -> Scaler:
        """The scaler of the columns: that of the features, unless features are computed."""
        columns_NR = self.prepared.train.real().columns
        if columns_NR is None:
            return self.prepared.feature_scaler
        return fit_scaler(columns_NR, "standard", "column")

    def positions(self, points: Points) -> Floats:
        """Return the positions of examples on the plane, [N, 1 or 2]."""
        return self.plane.project(points.columns)

    @cached_property
    def _samples(self) -> dict[tuple[str, int], Points]:
        return {}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the data that have examples."""
        return tuple(
            split for split in ("train", "val", "test") if getattr(self.prepared, split) is not None
        )

    @property
    def eval_split(self) -> str:
        """The split on which a finished network is evaluated: test, else val, else train."""
        return self.splits[-1]

    def points(self, split: str, max_points: int = MAX_POINTS) -> Points:
        """Return at most `max_points` examples of a split, the same ones on every call."""
        if (split, max_points) not in self._samples:
            examples = getattr(self.prepared, split).real()
            rows = np.arange(len(examples))
            if len(rows) > max_points:
                rows = np.sort(
                    np.random.default_rng(0).choice(len(rows), max_points, replace=False)
                )
            y = self.preprocessing.in_target_units(examples.y[rows])
            x_NF, columns_NR = examples.x[rows], examples.columns
            columns_NR = x_NF if columns_NR is None else self._column_scaler.apply(columns_NR[rows])
            self._samples[split, max_points] = Points(x_NF, y, len(examples), columns_NR)
        return self._samples[split, max_points]

    def evaluate(self, frame: int) -> tuple[Points, Floats]:
        """Return up to 20,000 examples of the evaluation split and the predictions at a frame."""
        points = self.points(self.eval_split, MAX_EXAMPLES)
        if frame not in self._predictions:
            self._predictions[frame] = self.outputs(points.x, [frame])[0]
        return points, self._predictions[frame]

    @cached_property
    def _predictions(self) -> dict[int, Floats]:
        return {}

    def with_frames(self, frames: Frames, history: History | None = None) -> Study:
        """Return the same run at other frames; the last one becomes the best frame.

        What was computed from the data is reused.
        """
        other = replace(
            self,
            frames=frames,
            best_frame=len(frames) - 1,
            history=self.history if history is None else history,
        )
        for name in ("preprocessing", "network", "plane", "_column_scaler", "_samples"):
            other.__dict__[name] = getattr(self, name)
        return other

    def outputs(self, x_NF: Floats, rows: Sequence[int]) -> Floats:
        """Return the predictions for scaled features at the given frames.

        Class probabilities [R, N, C], or values in the original units of the target [R, N, T].
        """
        if self.ensemble is not None:
            return np.repeat(self.ensemble[0].scores(x_NF, allow_nan=True), len(rows), axis=0)
        frames = self.frames.at(rows)
        model = Model.of(self.settings, self.preprocessing, frames.theta_RP, frames.buffers)
        return model.scores(x_NF, allow_nan=True)

    @torch.no_grad()
    def layers(self, x_NF: Floats, rows: Sequence[int]) -> list[Tensor]:
        """Return the outputs of each layer, including the output layer: each [R, N, H]."""
        frames = [self.network.hidden(*self._inputs(x_NF, row)) for row in rows]
        return [torch.cat(layer) for layer in zip(*frames, strict=True)]

    def _inputs(self, x_NF: Floats, row: int) -> tuple[list[LayerViews], Tensor, Buffers]:
        """The parameters at a frame, x [1, N, F] in their dtype, and the running statistics."""
        frame, layout = self.frames.at([row]), self.network.layout
        x = torch.from_numpy(np.ascontiguousarray(x_NF)).to(frame.theta_RP.dtype)
        return layout.layers(layout.split(frame.theta_RP)), x.unsqueeze(0), frame.buffers

    def slopes(self, x_NF: Floats, row: int) -> list[Floats]:
        """Return the slope |f'(z)| of each hidden activation at its inputs: each [1, N, H]."""
        views, h, buffers = self._inputs(x_NF, row)
        slopes = []
        for i, view in enumerate(views[:-1]):
            z = self.network.signal(i, view, h, buffers).detach().requires_grad_()
            h = self.network.activated(i, view, z)
            slopes.append(torch.autograd.grad(h.sum(), z)[0].abs().double().numpy())
            h = h.detach()
        return slopes

    def weights(self, frame: int) -> list[tuple[Floats, Floats | None]]:
        """Return the weight [I, O] and bias [O] of each layer at a frame; the matrix of a block
        layer has zeros.
        """
        views = self.network.layout.layers(self.network.layout.split(self.frames.theta_RP[[frame]]))
        return [
            (weight[0].double().numpy(), None if bias is None else bias[0, 0].double().numpy())
            for weight, bias in (self.network.dense(i, view) for i, view in enumerate(views))
        ]

    @property
    def has_hidden(self) -> bool:
        return len(self.network.layers) > 1
