"""Two-dimensional classification sets defined by geometry: the lecture's and some well-known ones.

Class sizes are as equal as the number of examples allows. `noise` moves points after they are
labeled, so that without noise the label follows from the geometry, and a larger noise with the same
seed moves the same points farther. Shapes: N examples, C classes, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlplab.data.table import Dataset, Floats, Ints, Table, class_table
from mlplab.errors import FieldError
from mlplab.schema import Number, choice, integer, number

TWO_CLASSES = ("red", "blue")
GATES = {"and": (0, 0, 0, 1), "or": (0, 1, 1, 1), "nand": (1, 1, 1, 0), "xor": (0, 1, 1, 0)}


@dataclass(frozen=True, kw_only=True)
class Toy(Dataset):
    """A generated classification set."""

    task_kind: ClassVar[str] = "classification"

    num_samples: int = integer(1000, "number of examples in all splits together", at_least=2)
    noise: Number = number(
        0.0, "standard deviation of the noise added to both coordinates", at_least=0
    )

    def add_noise(self, x_NF: Floats, rng: np.random.Generator) -> Floats:
        """Return the points [N, F] with noise.

        Noise is drawn even at 0, so that changing it changes nothing else.
        """
        return x_NF + float(self.noise) * rng.standard_normal(x_NF.shape)

    def labels(self, num_classes: int = 2) -> Ints:
        """Return the labels 0, 1, ..., 0, 1, ... int64 [N]; the split shuffles them later."""
        return np.arange(self.num_samples) % num_classes


@dataclass(frozen=True, kw_only=True)
class Linear(Toy):
    """Two classes that one line separates: the sides of x1 + x2 = 0 in the square [-1, 1]^2, pushed
    apart by a gap.
    """

    num_samples: int = integer(400, "number of examples in all splits together", at_least=2)
    gap: Number = number(0.2, "width of the empty strip along the line", at_least=0)

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels()
        x_N2 = rng.uniform(-1, 1, (self.num_samples, 2))
        side_N = 2 * y_N - 1
        # mirroring a point changes its side, so no point needs to be discarded
        x_N2 *= (np.where(x_N2.sum(1) >= 0, 1, -1) * side_N)[:, None]
        x_N2 += (side_N * float(self.gap) / 2 / np.sqrt(2))[:, None]
        return class_table(self.add_noise(x_N2, rng), y_N, TWO_CLASSES)


@dataclass(frozen=True, kw_only=True)
class Boolean(Dataset):
    """A Boolean gate: the four points (0, 0), (0, 1), (1, 0), (1, 1) and the output of the gate."""

    task_kind: ClassVar[str] = "classification"

    gate: str = choice(
        "xor",
        tuple(GATES),
        "function of the two inputs; xor is the one that no line separates",
    )
    val: float = number(
        0.0,
        "fraction of the examples for validation; 0 for no validation split",
        varies=False,
        at_least=0,
        below=1,
    )
    test: float = number(
        0.0,
        "fraction of the examples for testing; 0 for no test split",
        varies=False,
        at_least=0,
        below=1,
    )
    scaling: str = choice(
        "none",
        ("standard", "minmax", "none"),
        "how features are scaled; none leaves the inputs 0 and 1",
    )

    def make(self, rng: np.random.Generator) -> Table:
        return class_table([(0, 0), (0, 1), (1, 0), (1, 1)], GATES[self.gate], ("false", "true"))


@dataclass(frozen=True, kw_only=True)
class Xor(Toy):
    """Four round clouds around (-1, -1), (-1, 1), (1, -1), (1, 1); blue where the signs differ: no
    line separates them.
    """

    noise: Number = number(0.2, "standard deviation of each cloud", at_least=0)

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels()
        first_N = np.arange(self.num_samples) // 2 % 2 * 2 - 1
        x_N2 = np.stack([first_N, np.where(y_N == 1, -first_N, first_N)], axis=1)
        return class_table(self.add_noise(x_N2, rng), y_N, TWO_CLASSES)


@dataclass(frozen=True, kw_only=True)
class Radial(Toy):
    """One ring of sectors whose two classes alternate: the lecture's six regions.

    Radii are from 0.5 to 1, uniform over the area. A line classifies at most 2/3 of six sectors
    correctly.
    """

    num_sectors: int = integer(
        6, "number of sectors in the ring; even, so that neighbors always differ", at_least=2
    )
    gap: Number = number(
        0.1,
        "fraction of each sector's angle that stays empty between neighbors",
        at_least=0,
        below=1,
    )

    def check(self) -> None:
        super().check()
        if self.num_sectors % 2:
            raise FieldError(
                "num_sectors", self.num_sectors, "is odd: two sectors of one class would meet"
            )

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels()
        sector_N = _sector(y_N, 2, self.num_sectors)
        x_N2 = _sector_points(sector_N, self.num_sectors, self.gap, 0.5, 1, rng)
        return class_table(self.add_noise(x_N2, rng), y_N, TWO_CLASSES)


@dataclass(frozen=True, kw_only=True)
class TwoLayerRadial(Toy):
    """Two rings of six sectors, classes alternating around and inward: the lecture's demo.

    Radii are up to 1 and from 1 to 2, uniform over the area. The classes of the outer ring are
    shifted by one sector. By default the disc is evenly covered, so that a network that learns only
    the outer ring classifies 3/4 correctly; with inner_share = 0.5 both rings count the same.
    """

    num_samples: int = integer(2000, "number of examples in all splits together", at_least=2)
    gap: Number = number(
        0.1,
        "fraction of each sector's angle that stays empty between neighbors",
        at_least=0,
        below=1,
    )
    inner_share: Number = number(
        0.25,
        "fraction of the examples in the inner ring; 0.25 covers the disc evenly",
        at_least=0,
        at_most=1,
    )

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels()
        outer_N = np.arange(self.num_samples) >= round(self.num_samples * float(self.inner_share))
        sector_N = _sector((y_N + outer_N) % 2, 2, 6)
        inner_N = np.where(outer_N, 1.0, 0.0)
        x_N2 = _sector_points(sector_N, 6, self.gap, inner_N, inner_N + 1, rng)
        return class_table(self.add_noise(x_N2, rng), y_N, TWO_CLASSES)


@dataclass(frozen=True, kw_only=True)
class ThreeClasses(Toy):
    """Three classes in a ring of six sectors, opposite sectors of one class: for the lecture's
    network 2 -> 6 -> 4 -> 3.

    Radii are from 0.5 to 1, uniform over the area. Softmax regression fails because each class lies
    on both sides of the origin.
    """

    gap: Number = number(
        0.1,
        "fraction of each sector's angle that stays empty between neighbors",
        at_least=0,
        below=1,
    )

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels(3)
        x_N2 = _sector_points(_sector(y_N, 3, 6), 6, self.gap, 0.5, 1, rng)
        return class_table(self.add_noise(x_N2, rng), y_N, ("red", "green", "blue"))


@dataclass(frozen=True, kw_only=True)
class Spiral(Toy):
    """Arms that wind around the origin, one class per arm: hard for hidden units, which see
    directions.

    x = r (cos a, sin a), a = 2 pi (turns r + arm / num_arms), r uniform in [0.1, 1].
    """

    noise: Number = number(
        0.02, "standard deviation of the noise added to both coordinates", at_least=0
    )
    num_arms: int = integer(2, "number of arms and classes", at_least=2)
    turns: Number = number(
        1.5, "how often an arm winds around the origin between radius 0 and 1", above=0
    )

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels(self.num_arms)
        radius_N = rng.uniform(0.1, 1, self.num_samples)
        angle_N = 2 * np.pi * (float(self.turns) * radius_N + y_N / self.num_arms)
        return class_table(
            self.add_noise(_polar(radius_N, angle_N), rng),
            y_N,
            [f"arm {i + 1}" for i in range(self.num_arms)],
        )


@dataclass(frozen=True, kw_only=True)
class Moons(Toy):
    """Two interleaving half circles.

    (cos t, sin t) and (1 - cos t, 1/2 - sin t), t evenly spaced in [0, pi]: scikit-learn's
    make_moons.
    """

    num_samples: int = integer(500, "number of examples in all splits together", at_least=2)
    noise: Number = number(
        0.1, "standard deviation of the noise added to both coordinates", at_least=0
    )

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels()
        x_N2 = _polar(np.ones(self.num_samples), _evenly(y_N, np.pi, closed=True))
        x_N2 = np.where(y_N[:, None] == 0, x_N2, np.array([1, 0.5]) - x_N2)
        return class_table(self.add_noise(x_N2, rng), y_N, TWO_CLASSES)


@dataclass(frozen=True, kw_only=True)
class Circles(Toy):
    """A circle of radius 1 and a smaller one inside it, points evenly spaced: scikit-learn's
    make_circles.
    """

    num_samples: int = integer(500, "number of examples in all splits together", at_least=2)
    noise: Number = number(
        0.05, "standard deviation of the noise added to both coordinates", at_least=0
    )
    factor: Number = number(0.5, "radius of the inner circle", at_least=0, below=1)

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels()
        x_N2 = _polar(
            np.where(y_N == 0, 1.0, float(self.factor)), _evenly(y_N, 2 * np.pi, closed=False)
        )
        return class_table(self.add_noise(x_N2, rng), y_N, ("outer", "inner"))


@dataclass(frozen=True, kw_only=True)
class Blobs(Toy):
    """Round clouds, one per class, with centers uniform in [-10, 10] along each feature; they may
    overlap.
    """

    num_samples: int = integer(500, "number of examples in all splits together", at_least=2)
    noise: Number = number(1.0, "standard deviation of each cloud", at_least=0)
    num_classes: int = integer(3, "number of clouds and classes", at_least=2)
    num_features: int = integer(2, "number of features", at_least=1)

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels(self.num_classes)
        centers_CF = rng.uniform(-10, 10, (self.num_classes, self.num_features))
        return class_table(
            self.add_noise(centers_CF[y_N], rng),
            y_N,
            [f"blob {i + 1}" for i in range(self.num_classes)],
        )


@dataclass(frozen=True, kw_only=True)
class Checkerboard(Toy):
    """Square tiles of alternating class over [-1, 1]^2; the tile at (-1, -1) is red."""

    num_samples: int = integer(2000, "number of examples in all splits together", at_least=2)
    num_tiles: int = integer(4, "number of tiles along each side", at_least=2)

    def make(self, rng: np.random.Generator) -> Table:
        y_N = self.labels()
        tiles = np.indices((self.num_tiles, self.num_tiles)).reshape(2, -1).T
        x_N2 = np.empty((self.num_samples, 2))
        for color in (0, 1):
            same_color = tiles[tiles.sum(1) % 2 == color]
            x_N2[y_N == color] = np.resize(same_color, (np.sum(y_N == color), 2))
        x_N2 = (x_N2 + rng.uniform(0, 1, x_N2.shape)) * 2 / self.num_tiles - 1
        return class_table(self.add_noise(x_N2, rng), y_N, TWO_CLASSES)


def _polar(radius_N: Floats, angle_N: Floats) -> Floats:
    return np.stack([radius_N * np.cos(angle_N), radius_N * np.sin(angle_N)], axis=1)


def _sector(y_N: Ints, num_classes: int, num_sectors: int) -> Ints:
    """Return a sector of the right class for each example, [N].

    Sector s has class s mod num_classes; all sectors get about the same number of examples.
    """
    return np.arange(len(y_N)) // num_classes * num_classes % num_sectors + y_N


def _sector_points(
    sector_N: Ints,
    num_sectors: int,
    gap: Number,
    inner: Floats | float,
    outer: Floats | float,
    rng: np.random.Generator,
) -> Floats:
    """Return points [N, 2], uniform over the area of their sector between two radii.

    Sector s spans the angles 2 pi [s, s + 1] / num_sectors minus the gap.
    """
    offset_N = (1 - float(gap)) * rng.uniform(-0.5, 0.5, len(sector_N))
    angle_N = 2 * np.pi / num_sectors * (sector_N + 0.5 + offset_N)
    radius_N = np.sqrt(rng.uniform(np.square(inner), np.square(outer), len(sector_N)))
    return _polar(radius_N, angle_N)


def _evenly(y_N: Ints, end: float, closed: bool) -> Floats:
    """Return evenly spaced angles from 0 to `end` within each of two classes, [N].

    `closed` includes `end` itself. The labels must be 0, 1, 0, 1, ...
    """
    num_in_class_N = np.bincount(y_N, minlength=2)[y_N]
    return np.arange(len(y_N)) // 2 * end / np.maximum(num_in_class_N - closed, 1)
