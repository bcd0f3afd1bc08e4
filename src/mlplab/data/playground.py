"""The six sets of the TensorFlow Playground, with its ranges, padding and noise.

Source: tensorflow/playground, src/dataset.ts. Noise is the Playground's slider, 0 to 50 percent. In
most sets the label is computed at a noisy position while the point itself stays, so noisy sets have
wrong labels. The Playground's labels 1 and -1 are the classes 1 (blue) and 0 (orange). The
Playground leaves features unscaled and trains on half of the points.

Shapes: N examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mlplab.data.table import Dataset, Floats, Table, class_table, value_table
from mlplab.schema import Number, integer, number

CLASSES = ("orange", "blue")
RADIUS, PADDING, PLANE_RADIUS = 5.0, 0.3, 6.0
# center, sign
GAUSSIANS = np.array(
    [(-4, 2.5, 1), (0, 2.5, -1), (4, 2.5, 1), (-4, -2.5, -1), (0, -2.5, 1), (4, -2.5, -1)]
)


@dataclass(frozen=True, kw_only=True)
class Playground(Dataset):
    """A set of the TensorFlow Playground."""

    task_kind: ClassVar[str] = "classification"

    num_samples: int = integer(500, "number of examples in all splits together", at_least=2)
    noise: Number = number(0.0, "percent, as on the Playground's slider", at_least=0, at_most=50)

    def fraction(self) -> float:
        """Return the noise as a fraction, 0 to 0.5."""
        return float(self.noise) / 100

    def noisy_points(self, x_N2: Floats, radius: float, rng: np.random.Generator) -> Floats:
        """Return the points [N, 2], moved by up to noise * radius along each coordinate."""
        return x_N2 + rng.uniform(-radius, radius, x_N2.shape) * self.fraction()


@dataclass(frozen=True, kw_only=True)
class PlaygroundCircle(Playground):
    """Playground's circle: a disc of radius 2.5 (blue) and a ring from 3.5 to 5 (orange); radii,
    not areas, are uniform.

    A point whose noisy position is closer than 2.5 to the origin is blue.
    """

    def make(self, rng: np.random.Generator) -> Table:
        inside_N = _first_half(self.num_samples)
        radius_N = rng.uniform(
            np.where(inside_N, 0, 0.7 * RADIUS), np.where(inside_N, 0.5 * RADIUS, RADIUS)
        )
        x_N2 = _polar_from_second_axis(radius_N, rng.uniform(0, 2 * np.pi, self.num_samples))
        return class_table(
            x_N2, np.hypot(*self.noisy_points(x_N2, RADIUS, rng).T) < 0.5 * RADIUS, CLASSES
        )


@dataclass(frozen=True, kw_only=True)
class PlaygroundXor(Playground):
    """Playground's exclusive or: a square of half-width 5, its quadrants moved 0.3 outward; blue
    where x1 x2 >= 0 at the noisy position.
    """

    def make(self, rng: np.random.Generator) -> Table:
        x_N2 = rng.uniform(-RADIUS, RADIUS, (self.num_samples, 2))
        x_N2 += np.where(x_N2 > 0, PADDING, -PADDING)
        return class_table(x_N2, self.noisy_points(x_N2, RADIUS, rng).prod(1) >= 0, CLASSES)


@dataclass(frozen=True, kw_only=True)
class PlaygroundGauss(Playground):
    """Playground's Gaussian: two round clouds at (2, 2) (blue) and (-2, -2) (orange), whose
    variance grows from 0.5 to 4 with noise.
    """

    def make(self, rng: np.random.Generator) -> Table:
        blue_N = _first_half(self.num_samples)
        deviation = np.sqrt(0.5 + 7 * self.fraction())
        center_N1 = np.where(blue_N, 2.0, -2.0)[:, None]
        return class_table(
            center_N1 + deviation * rng.standard_normal((self.num_samples, 2)), blue_N, CLASSES
        )


@dataclass(frozen=True, kw_only=True)
class PlaygroundSpiral(Playground):
    """Playground's spiral: two arms of 1.75 turns out to radius 5, points evenly spaced along the
    angle.

    x = r (sin t, cos t), r = 5 i / n, t = 3.5 pi i / n (+ pi on the orange arm). Here the noise
    moves the points themselves, by up to noise * 1.
    """

    def make(self, rng: np.random.Generator) -> Table:
        blue_N = _first_half(self.num_samples)
        num_blue = blue_N.sum()
        fraction_N = np.concatenate(
            [np.arange(size) / size for size in (num_blue, self.num_samples - num_blue)]
        )
        x_N2 = _polar_from_second_axis(
            RADIUS * fraction_N, 3.5 * np.pi * fraction_N + np.where(blue_N, 0, np.pi)
        )
        return class_table(self.noisy_points(x_N2, 1, rng), blue_N, CLASSES)


@dataclass(frozen=True, kw_only=True)
class PlaygroundPlane(Playground):
    """Playground's plane (regression): y = (x1 + x2) / 10 at the noisy position; x in a square of
    half-width 6.
    """

    task_kind: ClassVar[str] = "regression"

    num_samples: int = integer(1200, "number of examples in all splits together", at_least=2)

    def make(self, rng: np.random.Generator) -> Table:
        x_N2 = rng.uniform(-PLANE_RADIUS, PLANE_RADIUS, (self.num_samples, 2))
        return value_table(x_N2, self.noisy_points(x_N2, PLANE_RADIUS, rng).sum(1) / 10)


@dataclass(frozen=True, kw_only=True)
class PlaygroundMultiGauss(Playground):
    """Playground's multi-Gaussian (regression): six cones of height +-1 and radius 2; x in a square
    of half-width 6.

    y = s max(0, 1 - d / 2) for the nearest center, at distance d from the noisy position and with
    sign s.
    """

    task_kind: ClassVar[str] = "regression"

    num_samples: int = integer(1200, "number of examples in all splits together", at_least=2)

    def make(self, rng: np.random.Generator) -> Table:
        x_N2 = rng.uniform(-PLANE_RADIUS, PLANE_RADIUS, (self.num_samples, 2))
        point_N12 = self.noisy_points(x_N2, PLANE_RADIUS, rng)[:, None]
        distance_N6 = np.linalg.norm(point_N12 - GAUSSIANS[:, :2], axis=2)
        sign_N = GAUSSIANS[distance_N6.argmin(1), 2]
        return value_table(x_N2, sign_N * np.maximum(0, 1 - distance_N6.min(1) / 2))


def _first_half(num_samples: int) -> NDArray[np.bool_]:
    return np.arange(num_samples) < (num_samples + 1) // 2


def _polar_from_second_axis(radius_N: Floats, angle_N: Floats) -> Floats:
    """Return points [N, 2]; the Playground measures angles clockwise from the second axis."""
    return np.stack([radius_N * np.sin(angle_N), radius_N * np.cos(angle_N)], axis=1)
