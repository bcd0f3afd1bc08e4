"""Tables that no dataset of mlplab resembles: (generator) -> x [N, F] and labels or values [N]."""

from __future__ import annotations

import itertools

import numpy as np

Table = tuple[np.ndarray, np.ndarray]


def parity(rng: np.random.Generator, bits: int = 3, rows: int = 240, noise: float = 0.15) -> Table:
    """Clouds around the corners of a cube, labeled by the parity of the corner."""
    corners = np.array(list(itertools.product([-1.0, 1.0], repeat=bits)))
    chosen = np.arange(rows) % len(corners)
    x = corners[chosen] + noise * rng.normal(size=(rows, bits))
    return x, (corners[chosen].prod(1) > 0).astype(int)


def plane_parity(rng: np.random.Generator) -> Table:
    """The same in the plane, with wider clouds."""
    return parity(rng, 2, 300, 0.25)


def stripes(rng: np.random.Generator, count: int = 4, rows: int = 240) -> Table:
    """Oblique stripes of alternating class, with gaps between them."""
    stripe = np.arange(rows) % count
    across = stripe + rng.uniform(0.15, 0.85, rows) - count / 2
    along = rng.uniform(-count / 2, count / 2, rows)
    return np.column_stack([across + along, along - across]), stripe % 2


def gates(rng: np.random.Generator, rows: int = 200) -> Table:
    """Exclusive or of two of three inputs, the third of which says nothing."""
    x, y = parity(rng, 2, rows)
    return np.column_stack([x, rng.normal(size=rows)]), y


def bumps(rng: np.random.Generator, rows: int = 200) -> Table:
    """Two bumps on a line."""
    x = rng.uniform(-3, 3, rows)
    return x[:, None], np.exp(-4 * (x + 1.2) ** 2) + np.exp(-4 * (x - 1.2) ** 2)


def shells(rng: np.random.Generator, rows: int = 800) -> Table:
    """Normal points of the plane in three shells with equally many points."""
    x = rng.normal(size=(rows, 2))
    radius = np.linalg.norm(x, axis=1)
    return x, np.digitize(radius, np.quantile(radius, [1 / 3, 2 / 3]))


def ball(rng: np.random.Generator, rows: int = 1200) -> Table:
    """Six normal columns; the label says whether the sum of the squares is large (after Hastie et
    al., The Elements of Statistical Learning, equation 10.2, with ten).
    """
    x = rng.normal(size=(rows, 6))
    return x, ((x**2).sum(1) > 5.35).astype(int)


def river(rng: np.random.Generator, rows: int = 600) -> Table:
    """Points above and below a sine."""
    x = rng.uniform(-3, 3, (rows, 2)) * [1, 0.6]
    return x, (x[:, 1] > np.sin(2 * x[:, 0])).astype(int)


def clouds(rng: np.random.Generator, rows: int = 500) -> Table:
    """Five normal classes with their own covariances in seven dimensions."""
    y = np.arange(rows) % 5
    centers = 2.2 * rng.normal(size=(5, 7))
    shapes = rng.normal(size=(5, 7, 7)) / 7**0.5
    noise = np.einsum("ncd,nd->nc", shapes[y], rng.normal(size=(rows, 7)))
    return centers[y] + noise, y


def impedance(rng: np.random.Generator, rows: int = 500) -> Table:
    """The modulus of an impedance (Friedman 1991, Multivariate Adaptive Regression Splines)."""
    x = rng.uniform(size=(rows, 4)) * [100, 520 * np.pi, 1, 10] + [0, 40 * np.pi, 0, 1]
    return x, np.hypot(x[:, 0], x[:, 1] * x[:, 2] - 1 / (x[:, 1] * x[:, 3]))


def product(rng: np.random.Generator, rows: int = 500) -> Table:
    """A product of two inputs, a line in the third, and an input without influence."""
    x = rng.normal(size=(rows, 4))
    return x, x[:, 0] * x[:, 1] + x[:, 2]


def valley(rng: np.random.Generator, rows: int = 500) -> Table:
    """A curved valley in the plane."""
    x = rng.uniform(-1.5, 1.5, (rows, 2))
    return x, np.log1p((1 - x[:, 0]) ** 2 + 10 * (x[:, 1] - x[:, 0] ** 2) ** 2)
