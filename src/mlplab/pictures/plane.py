"""The plane on which inputs are drawn.

With one or two columns it is spanned by the columns, otherwise by the first two principal
components of the data. The columns are the features themselves, unless features are computed.

Shapes: N examples, R columns, F features.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlplab.data import Scaler

Floats = NDArray[np.float64]
MAX_REACH = 0.5  # beyond the points that define a plane, relative to their range
PRINCIPAL_COMPONENTS = ("1st principal component", "2nd principal component")


@dataclass(frozen=True, eq=False)
class Plane:
    """An affine map between scaled columns and drawn coordinates.

    With one column it is a line, and the second coordinate is free for the target.
    """

    kind: str  # columns, pca
    origin_R: Floats  # in the original units of the columns, or scaled for pca
    axes_2R: Floats  # orthonormal rows; one row for one column
    scaler: Scaler  # of the columns
    names: tuple[str, ...]
    low: Floats  # of each coordinate
    high: Floats
    note: str  # explanation for the reader; empty if the columns are drawn directly
    derive: Callable[[Floats], Floats] | None = None
    """From columns to scaled features; None if the columns are the features."""

    @property
    def dimensions(self) -> int:
        return len(self.axes_2R)

    def project(self, scaled_NR: Floats) -> Floats:
        """Return the coordinates [N, 1 or 2] of scaled columns."""
        x_NR = self.scaler.invert(scaled_NR) if self.kind == "columns" else scaled_NR
        return (x_NR - self.origin_R) @ self.axes_2R.T

    def lift(self, points_N2: Floats) -> Floats:
        """Return the scaled features [N, F] of coordinates on the plane."""
        x_NR = points_N2 @ self.axes_2R + self.origin_R
        if self.derive is not None:
            return self.derive(x_NR if self.kind == "columns" else self.scaler.invert(x_NR))
        return self.scaler.apply(x_NR) if self.kind == "columns" else x_NR

    def cell_centers(self, size: int) -> list[Floats]:
        """Return each coordinate [size] of the cell centers of an even grid."""
        return [
            low + (np.arange(size) + 0.5) / size * (high - low)
            for low, high in zip(self.low, self.high, strict=True)
        ]

    def grid(self, size: int) -> Floats:
        """Return the scaled features at the cell centers of an even grid.

        [size, F] on a line; [size * size, F] on a plane, row by row from the bottom.
        """
        coordinates = np.meshgrid(*self.cell_centers(size))
        return self.lift(np.stack([values.ravel() for values in coordinates], axis=1))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The limits (left, right, bottom, top) of the drawn area."""
        return float(self.low[0]), float(self.high[0]), float(self.low[-1]), float(self.high[-1])


def fit_plane(
    scaled_NR: Floats,
    scaler: Scaler,
    names: tuple[str, ...],
    derive: Callable[[Floats], Floats] | None = None,
    others_NR: Floats | None = None,
) -> Plane:
    """Return the plane of these points, with limits that include a margin around them.

    The limits also include other points on the plane, unless those lie far outside.
    """
    num_columns = scaled_NR.shape[1]
    kind, origin_R, axes_2R, note = "columns", np.zeros(num_columns), np.eye(num_columns), ""
    if num_columns > 2:
        axes_2R, variance_fraction = principal_axes(scaled_NR, 2)
        kind, origin_R, names = "pca", scaled_NR.mean(0), PRINCIPAL_COMPONENTS
        note = (
            f"{num_columns} {'columns' if derive else 'features'} projected onto their first 2"
            f" principal components, which explain {variance_fraction:.0%} of the variance"
        )
    zero = np.zeros(1)
    plane = Plane(kind, origin_R, axes_2R, scaler, names, zero, zero, note, derive)
    positions = plane.project(scaled_NR)
    low, high = positions.min(0), positions.max(0)
    if others_NR is not None:
        positions, reach = plane.project(others_NR), MAX_REACH * (high - low)
        low, high = (
            np.maximum(np.minimum(low, positions.min(0)), low - reach),
            np.minimum(np.maximum(high, positions.max(0)), high + reach),
        )
    margin = 0.06 * np.maximum(high - low, 1e-9 + 1e-6 * np.abs(high))
    return replace(plane, low=low - margin, high=high + margin)


def principal_axes(x_NF: Floats, count: int) -> tuple[Floats, float]:
    """Return the first principal directions [count, F] and the fraction of the variance they
    explain.

    The directions are orthonormal rows. Their signs are fixed: the largest entry is positive.
    """
    centered = x_NF - x_NF.mean(0)
    values, vectors = np.linalg.eigh(centered.T @ centered)
    rows = vectors[:, ::-1][:, :count].T
    rows = rows * np.sign(np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1))
    total = float(values.sum())
    return rows, float(values[::-1][:count].sum()) / total if total > 0 else 1.0
