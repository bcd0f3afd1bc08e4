"""Regression sets: curves y = f(x) of one feature, and two standard functions of several features.

`noise` is the standard deviation of the noise. It is drawn last and even at 0, so that changing it
changes nothing else. Shapes: N examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlplab.data.table import Dataset, Floats, Table, value_table
from mlplab.errors import FieldError
from mlplab.schema import Number, integer, number


@dataclass(frozen=True, kw_only=True)
class Curve(Dataset):
    """A curve y = f(x) with x uniform between low and high."""

    task_kind: ClassVar[str] = "regression"

    num_samples: int = integer(200, "number of examples in all splits together", at_least=2)
    noise: Number = number(0.0, "standard deviation of the noise added to y", at_least=0)
    low: Number = number(-1.0, "smallest x")
    high: Number = number(1.0, "largest x")

    def check(self) -> None:
        super().check()
        if bool(self.low >= self.high):
            raise FieldError("low", self.low, f"is not below high = {self.high!r}")

    def curve(self, x_N: Floats) -> Floats:
        """Return f(x), float64 [N]."""
        raise NotImplementedError

    def make(self, rng: np.random.Generator) -> Table:
        x_N = rng.uniform(float(self.low), float(self.high), self.num_samples)
        y_N = self.curve(x_N) + float(self.noise) * rng.standard_normal(self.num_samples)
        return value_table(x_N[:, None], y_N, feature_names=("x",))


@dataclass(frozen=True, kw_only=True)
class Quadratic(Curve):
    """The lecture's parabola: y = x^2, x in [-1, 1], 100 examples."""

    num_samples: int = integer(100, "number of examples in all splits together", at_least=2)

    def curve(self, x_N: Floats) -> Floats:
        return np.square(x_N)


@dataclass(frozen=True, kw_only=True)
class Sine(Curve):
    """The lecture's sine: y = sin(2 pi x), x in [-1, 1], which is two periods."""

    num_samples: int = integer(
        100,
        "number of examples in all splits together; the lecture compares 100 and 1000",
        at_least=2,
    )

    def curve(self, x_N: Floats) -> Floats:
        return np.sin(2 * np.pi * x_N)


@dataclass(frozen=True, kw_only=True)
class Step(Curve):
    """A step: y = 0 for x < 0, else 1; x in [-1, 1]."""

    def curve(self, x_N: Floats) -> Floats:
        return np.where(x_N < 0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Absolute(Curve):
    """A corner: y = |x|, x in [-1, 1]."""

    def curve(self, x_N: Floats) -> Floats:
        return np.abs(x_N)


@dataclass(frozen=True, kw_only=True)
class Sinc(Curve):
    """A fading wave: y = sin(pi x) / (pi x), 1 at 0; x in [-4, 4]."""

    low: Number = number(-4.0, "smallest x")
    high: Number = number(4.0, "largest x")

    def curve(self, x_N: Floats) -> Floats:
        return np.asarray(np.sinc(x_N), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Cubic(Curve):
    """A cubic: y = x^3, x in [-1, 1]."""

    def curve(self, x_N: Floats) -> Floats:
        return np.power(x_N, 3)


@dataclass(frozen=True, kw_only=True)
class SwissRoll(Dataset):
    """The position t along a rolled-up sheet, from a point (t cos t, h, t sin t) on it in space.

    t uniform in [1.5 pi, 4.5 pi], h in [0, 21]: scikit-learn's make_swiss_roll, with its `t` as the
    target.
    """

    task_kind: ClassVar[str] = "regression"

    num_samples: int = integer(1000, "number of examples in all splits together", at_least=2)
    noise: Number = number(
        0.0, "standard deviation of the noise added to the three coordinates", at_least=0
    )

    def make(self, rng: np.random.Generator) -> Table:
        t_N = 1.5 * np.pi * (1 + 2 * rng.uniform(0, 1, self.num_samples))
        height_N = rng.uniform(0, 21, self.num_samples)
        x_N3 = np.stack([t_N * np.cos(t_N), height_N, t_N * np.sin(t_N)], axis=1)
        return value_table(x_N3 + float(self.noise) * rng.standard_normal(x_N3.shape), t_N, ("t",))


@dataclass(frozen=True, kw_only=True)
class Friedman1(Dataset):
    """Friedman's first function of ten features, of which only five matter.

    y = 10 sin(pi x1 x2) + 20 (x3 - 1/2)^2 + 10 x4 + 5 x5 + noise, x uniform in [0, 1]. Source:
    Friedman 1991; Breiman 1996.
    """

    task_kind: ClassVar[str] = "regression"

    num_samples: int = integer(1000, "number of examples in all splits together", at_least=2)
    noise: Number = number(1.0, "standard deviation of the noise added to y", at_least=0)
    num_features: int = integer(
        10, "number of features; those after the fifth do not matter", at_least=5
    )

    def make(self, rng: np.random.Generator) -> Table:
        x_NF = rng.uniform(0, 1, (self.num_samples, self.num_features))
        x1, x2, x3, x4, x5 = x_NF.T[:5]
        y_N = 10 * np.sin(np.pi * x1 * x2) + 20 * np.square(x3 - 0.5) + 10 * x4 + 5 * x5
        return value_table(x_NF, y_N + float(self.noise) * rng.standard_normal(self.num_samples))
