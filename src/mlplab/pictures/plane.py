"""The plane on which inputs are drawn.

With one or two features it is spanned by the features, otherwise by the first two principal
components of the data.

Shapes: N examples, F features.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlplab.data import Scaler

Floats = NDArray[np.float64]
PRINCIPAL_COMPONENTS = ("1st principal component", "2nd principal component")


@dataclass(frozen=True, eq=False)
class Plane:
    """An affine map between scaled features and drawn coordinates.

    With one feature it is a line, and the second coordinate is free for the target.
    """

    kind: str  # features, pca
    origin_F: Floats  # in the original units of the features, or scaled for pca
    axes_2F: Floats  # orthonormal rows; one row for one feature
    scaler: Scaler
    names: tuple[str, ...]
    low: Floats  # of each coordinate
    high: Floats
    note: str  # explanation for the reader; empty if the features are drawn directly

    @property
    def dimensions(self) -> int:
        return len(self.axes_2F)

    def project(self, scaled_NF: Floats) -> Floats:
        """Return the coordinates [N, 1 or 2] of scaled features."""
        x_NF = self.scaler.invert(scaled_NF) if self.kind == "features" else scaled_NF
        return (x_NF - self.origin_F) @ self.axes_2F.T

    def lift(self, points_N2: Floats) -> Floats:
        """Return the scaled features [N, F] of coordinates on the plane."""
        x_NF = points_N2 @ self.axes_2F + self.origin_F
        return self.scaler.apply(x_NF) if self.kind == "features" else x_NF

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


def fit_plane(scaled_NF: Floats, scaler: Scaler, names: tuple[str, ...]) -> Plane:
    """Return the plane of these points, with limits that include a margin around them."""
    num_features = scaled_NF.shape[1]
    if num_features <= 2:
        plane = Plane(
            "features",
            np.zeros(num_features),
            np.eye(num_features),
            scaler,
            names,
            np.zeros(1),
            np.zeros(1),
            "",
        )
    else:
        axes_2F, variance_fraction = principal_axes(scaled_NF, 2)
        plane = Plane(
            "pca",
            scaled_NF.mean(0),
            axes_2F,
            scaler,
            PRINCIPAL_COMPONENTS,
            np.zeros(1),
            np.zeros(1),
            f"{num_features} features projected onto their first 2 principal components, which"
            f" explain {variance_fraction:.0%} of the variance",
        )
    positions = plane.project(scaled_NF)
    low, high = positions.min(0), positions.max(0)
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
