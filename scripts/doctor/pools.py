"""The datasets and structures of the study.

`calibration` is the pool on which limits and remedies were chosen; `held_out` and `held_out_2` are
those on which the first and the second version were measured. The pools share no structure but the
narrowest, and no dataset, except that `plane_parity` and `playground_xor` resemble `xor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tables


@dataclass(frozen=True)
class Problem:
    """A dataset, the test score that a run which learned it well has, and its length."""

    dataset: tuple[str, ...]
    good: float  # accuracy, or R2
    epochs: int = 150
    classes: bool = True
    table: Callable[[np.random.Generator], tables.Table] | None = None  # in place of a dataset


@dataclass(frozen=True)
class Pool:
    """Datasets and structures of one half of the study."""

    problems: tuple[Problem, ...]
    structures: tuple[str, ...]
    two_dimensional: tuple[Problem, ...]  # which too few units cannot learn
    stuck: tuple[tuple[Problem, str], ...]  # with hidden layers that may fail


CALIBRATION = Pool(
    (
        Problem(("dataset=xor", "dataset.num_samples=400"), 0.93),
        Problem(("dataset=radial", "dataset.num_samples=600"), 0.85, 300),
        Problem(("dataset=moons",), 0.94),
        Problem(("dataset=blobs", "dataset.num_features=4", "dataset.seed=1"), 0.9, 80),
        Problem(("dataset=iris",), 0.85, 100),
        Problem(("dataset=breast_cancer",), 0.92, 15),
        Problem(("dataset=playground_circle",), 0.95),
        Problem(("dataset=sine", "dataset.num_samples=400"), 0.95, 300, False),
        Problem(("dataset=quadratic", "dataset.num_samples=200"), 0.95, 200, False),
        Problem(("dataset=friedman1",), 0.8, 100, False),
        Problem(("dataset=diabetes",), 0.3, 15, False),
    ),
    ("8-8", "16", "16-16", "32-16", "24-24-24"),
    (
        Problem(("dataset=radial", "dataset.num_samples=600"), 0.9, 300),
        Problem(("dataset=playground_circle",), 0.95, 200),
        Problem(("dataset=moons",), 0.95, 200),
        Problem(("dataset=sine", "dataset.num_samples=400"), 0.9, 300, False),
    ),
    (
        (Problem(("dataset=boolean",), 0.95, 1500), "2"),
        (Problem(("dataset=boolean",), 0.95, 1500), "3"),
        (Problem(("dataset=xor", "dataset.num_samples=300"), 0.95, 200), "2"),
        (Problem(("dataset=xor", "dataset.num_samples=300"), 0.95, 200), "3"),
        (Problem(("dataset=gates",), 0.95, 200, table=tables.gates), "2"),
        (Problem(("dataset=gates",), 0.95, 200, table=tables.gates), "3"),
        (Problem(("dataset=playground_circle", "dataset.num_samples=300"), 0.95, 200), "3"),
        (Problem(("dataset=playground_circle", "dataset.num_samples=300"), 0.95, 200), "4"),
        (Problem(("dataset=bumps",), 0.9, 300, False, tables.bumps), "4"),
    ),
)
HELD_OUT = Pool(
    (
        Problem(("dataset=circles", "dataset.noise=0.08"), 0.94),
        Problem(("dataset=three_classes", "dataset.num_samples=800"), 0.85, 300),
        Problem(("dataset=wine",), 0.88, 30),
        Problem(("dataset=checkerboard", "dataset.num_tiles=2", "dataset.num_samples=600"), 0.9),
        Problem(("dataset=playground_gauss",), 0.95, 60),
        Problem(("dataset=playground_xor",), 0.93),
        Problem(("dataset=linear",), 0.95, 60),
        Problem(("dataset=cubic", "dataset.num_samples=300"), 0.95, 200, False),
        Problem(("dataset=absolute", "dataset.num_samples=300"), 0.95, 200, False),
        Problem(("dataset=sinc", "dataset.num_samples=400"), 0.9, 300, False),
        Problem(("dataset=playground_plane",), 0.95, 80, False),
        Problem(("dataset=swiss_roll",), 0.9, 150, False),
    ),
    ("10-10", "20", "20-12", "12-12-12", "40-20"),
    (
        Problem(("dataset=circles",), 0.95, 200),
        Problem(("dataset=three_classes", "dataset.num_samples=800"), 0.9, 300),
        Problem(
            ("dataset=checkerboard", "dataset.num_tiles=3", "dataset.num_samples=900"), 0.8, 300
        ),
        Problem(("dataset=sinc", "dataset.num_samples=400"), 0.9, 300, False),
    ),
    (
        (Problem(("dataset=playground_xor", "dataset.noise=10"), 0.95, 200), "2"),
        (Problem(("dataset=playground_xor", "dataset.noise=10"), 0.95, 200), "3"),
        *(
            (
                Problem(
                    ("dataset=checkerboard", "dataset.num_tiles=2", "dataset.num_samples=300"),
                    *(0.95, 200),
                ),
                hidden,
            )
            for hidden in ("2", "3")
        ),
    ),
)
HELD_OUT_2 = Pool(
    (
        Problem(("dataset=spiral", "dataset.turns=0.8"), 0.9, 200),
        Problem(("dataset=digits",), 0.9, 12),
        Problem(("dataset=shells",), 0.85, 150, table=tables.shells),
        Problem(("dataset=ball",), 0.85, 60, table=tables.ball),
        Problem(("dataset=river",), 0.92, 150, table=tables.river),
        Problem(("dataset=clouds",), 0.9, 60, table=tables.clouds),
        Problem(("dataset=step", "dataset.num_samples=300"), 0.9, 200, False),
        Problem(("dataset=playground_multi_gauss",), 0.8, 200, False),
        Problem(("dataset=impedance",), 0.9, 100, False, tables.impedance),
        Problem(("dataset=product",), 0.85, 100, False, tables.product),
        Problem(("dataset=valley",), 0.9, 150, False, tables.valley),
    ),
    ("12-10", "18", "28-14", "14-14-14", "48-24"),
    (
        Problem(("dataset=shells",), 0.85, 200, table=tables.shells),
        Problem(("dataset=river",), 0.94, 200, table=tables.river),
        Problem(("dataset=spiral", "dataset.turns=0.8"), 0.9, 300),
        Problem(("dataset=valley",), 0.85, 200, False, tables.valley),
    ),
    (
        (Problem(("dataset=parity",), 0.95, 200, table=tables.parity), "3"),
        (Problem(("dataset=parity",), 0.95, 200, table=tables.parity), "4"),
        (Problem(("dataset=parity",), 0.95, 200, table=tables.parity), "5"),
        (Problem(("dataset=stripes",), 0.95, 200, table=tables.stripes), "3"),
        (Problem(("dataset=stripes",), 0.95, 200, table=tables.stripes), "4"),
        (Problem(("dataset=stripes",), 0.95, 200, table=tables.stripes), "3-3"),
        (Problem(("dataset=plane_parity",), 0.95, 200, table=tables.plane_parity), "2"),
        (
            Problem(("dataset=parity", "dataset.bits=2"), 0.95, 200, table=tables.plane_parity),
            "2-2",
        ),
    ),
)
POOLS = {"calibration": CALIBRATION, "held_out": HELD_OUT, "held_out_2": HELD_OUT_2}
