"""The trainings on which the doctor is calibrated and measured: healthy ones, and ones with one
change that makes them ill.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pools import POOLS, Pool, Problem

from mlplab.config import settings_from_overrides
from mlplab.config.builder import build
from mlplab.config.edit_stored import apply_overrides
from mlplab.data.tabular.arrays_dataset import with_data
from mlplab.data.tabular.collecting import collect
from mlplab.data.tabular.in_memory import InMemoryData
from mlplab.randomness import numpy_generator
from mlplab.settings import Settings

SMALL = ("8-8", "16", "10-10", "20", "12-10", "18")
"""Structures that cannot learn wrong labels by heart."""
SIBLINGS = 24
"""Starts of one training of which those that fail while others succeed are stuck."""

Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(x, y, generator) -> x, y: what is done to a table before it is split."""


@dataclass(frozen=True)
class Case:
    """One training: overrides, and what is done to the table. `twin` is the healthy neighbor, and
    `ailment` what was changed, "healthy" for none.
    """

    ailment: str
    problem: Problem
    overrides: tuple[str, ...]
    seed: int
    change: Change | None = None
    twin: Case | None = field(default=None, repr=False)
    data_seed: int | None = None  # of the table and its splits; that of the run if it is None

    def settings(self, remedy: tuple[str, ...] = ()) -> Settings:
        """Return the settings, changed by a remedy."""
        problem = self.problem
        dataset = () if problem.table else problem.dataset
        overrides = [*dataset, *self.overrides, f"seed={self.seed}", "tracking=off"]
        if self.data_seed is not None:
            overrides.append(f"dataset.seed={self.data_seed}")
        data = None
        if problem.table is not None or self.change is not None:
            data = self._table(overrides)
            kept = [
                t for t in overrides if not t.startswith(("dataset=", "dataset.num", "dataset.n"))
            ]
            arrays = (
                *("dataset=arrays", "experiment=null"),  # without the recipe for tables
                f"dataset.data_hash={data.sha256}",
                f"dataset.task={'classification' if problem.classes else 'regression'}",
            )
            overrides = [*arrays, *(t for t in kept if t not in problem.dataset)]
        settings = settings_from_overrides(overrides)
        if remedy:
            settings = build(apply_overrides(settings.config, remedy, Path("case")))
        if data is not None:
            settings = dataclasses.replace(settings, dataset=with_data(settings.dataset, data))
        return settings

    def _table(self, overrides: list[str]) -> InMemoryData:
        """The table, changed."""
        seed = self.seed if self.data_seed is None else self.data_seed
        if self.problem.table is not None:
            x, y = self.problem.table(np.random.default_rng([seed, 3]))
        else:
            made = settings_from_overrides(overrides).dataset.make(numpy_generator(seed, "data"))
            x, y = made.x.copy(), made.y.copy()
        if self.change is not None:
            x, y = self.change(x, y, np.random.default_rng([seed, 7]))
        return collect(x, y if self.problem.classes else y.reshape(len(y), -1))


def healthy(pool: Pool, rng: np.random.Generator, problem: Problem | None = None) -> Case:
    """A run with ordinary settings."""
    problem = problem or pool.problems[rng.integers(len(pool.problems))]
    activation = str(rng.choice(["tanh", "relu", "elu", "gelu", "leaky_relu", "silu"]))
    rectified = activation not in ("tanh", "elu")
    name, low, high = [
        ("adam", 0.003, 0.02),
        ("adamw", 0.003, 0.02),
        ("rmsprop", 0.002, 0.008),
        ("sgd", 0.05, 0.3),
        ("momentum", 0.02, 0.05),
    ][rng.integers(5)]
    if not problem.classes and name in ("sgd", "momentum"):
        low, high = low / 2, high / 4
    lr = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    overrides = (
        f"model.hidden={rng.choice(pool.structures)}",
        f"activation={activation}",
        f"initializer={'he_normal' if rectified else 'xavier_normal'}",
        f"optimizer={name}",
        f"optimizer.lr={lr:.4g}",
        "training=minibatch",
        f"training.batch_size={rng.choice([16, 32])}",
        f"training.epochs={problem.epochs * (2 if name == 'sgd' else 1)}",
    )
    return Case("healthy", problem, overrides, int(rng.integers(10_000)))


def _with(case: Case, ailment: str, *overrides: str, change: Change | None = None) -> Case:
    """The case with overrides added in place of those of the same keys and groups."""
    keys = {text.split("=")[0] for text in overrides}
    dropped = keys | ({"optimizer.lr"} if "optimizer" in keys else set())
    kept = tuple(t for t in case.overrides if t.split("=")[0] not in dropped)
    return Case(ailment, case.problem, (*kept, *overrides), case.seed, change, case)


def _lr(case: Case) -> float:
    return float(next(t for t in case.overrides if t.startswith("optimizer.lr=")).split("=")[1])


def dead_units(pool: Pool, rng: np.random.Generator) -> Case:
    """A bias that keeps rectifiers closed."""
    bias = rng.uniform(-8, -3)
    start = f"initializer={rng.choice(['he_normal', 'xavier_normal'])}"
    return _with(
        healthy(pool, rng), "dead_units", "activation=relu", start, f"initializer.bias={bias:.3g}"
    )


def saturated_start(pool: Pool, rng: np.random.Generator) -> Case:
    """Large weights of bounded activations."""
    return _with(
        healthy(pool, rng),
        "saturated_start",
        f"activation={rng.choice(['tanh', 'sigmoid'])}",
        "initializer=normal",
        f"initializer.std={rng.uniform(10, 40):.3g}",
    )


def vanishing_gradient(pool: Pool, rng: np.random.Generator) -> Case:
    """Many layers of sigmoids."""
    return _with(
        healthy(pool, rng),
        "vanishing_gradient",
        f"model.hidden={rng.integers(8, 13)}x{rng.integers(7, 13)}",
        "activation=sigmoid",
        f"initializer={rng.choice(['xavier_normal', 'xavier_uniform'])}",
    )


def exploding_start(pool: Pool, rng: np.random.Generator) -> Case:
    """Large weights of rectifiers in several layers."""
    return _with(
        healthy(pool, rng),
        "exploding_start",
        f"model.hidden={rng.integers(24, 64)}x{rng.integers(3, 6)}",
        f"activation={rng.choice(['relu', 'leaky_relu', 'elu'])}",
        "initializer=normal",
        f"initializer.std={rng.uniform(1, 4):.3g}",
    )


def lr_too_high(pool: Pool, rng: np.random.Generator) -> Case:
    """A learning rate far above the healthy one."""
    case = healthy(pool, rng)
    factor = float(np.exp(rng.uniform(np.log(100), np.log(1000))))
    return _with(case, "lr_too_high", f"optimizer.lr={_lr(case) * factor:.4g}")


def lr_too_low(pool: Pool, rng: np.random.Generator) -> Case:
    """A learning rate far below the healthy one."""
    case = healthy(pool, rng)
    factor = float(np.exp(rng.uniform(np.log(300), np.log(3000))))
    return _with(case, "lr_too_low", f"optimizer.lr={_lr(case) / factor:.4g}")


def overfitting(pool: Pool, rng: np.random.Generator) -> Case:
    """A large network, few rows, and some wrong targets; most rows are for validation and test."""
    case = healthy(pool, rng)
    rows = int(rng.integers(140, 240))
    flipped = rng.uniform(0.1, 0.2)

    def change(x, y, generator):
        chosen = generator.permutation(len(x))[:rows]
        return x[chosen], _noisy(y[chosen], flipped, case.problem.classes, generator)

    width = rng.integers(64, 129)
    return _with(
        case,
        "overfitting",
        f"model.hidden={width}-{width}",
        "dataset.val=0.35",
        "dataset.test=0.35",
        "optimizer=adam",
        f"optimizer.lr={rng.uniform(0.003, 0.01):.3g}",
        "training.epochs=300",
        change=change,
    )


def _noisy(y, share, classes, generator):
    if not classes:
        return y + generator.normal(size=y.shape) * y.std() * 2 * share**0.5
    wrong = generator.random(len(y)) < share
    shift = generator.integers(1, y.max() + 1, size=len(y))
    return np.where(wrong, (y + shift) % (y.max() + 1), y)


def too_few_units(pool: Pool, rng: np.random.Generator) -> Case:
    """One or two hidden units, or none, for a curved problem."""
    problem = pool.two_dimensional[rng.integers(len(pool.two_dimensional))]
    case = healthy(pool, rng, problem)
    hidden = ["1", "2", "[]"][rng.choice(3, p=[0.4, 0.4, 0.2])]
    return _with(case, "too_few_units", f"model.hidden={hidden}", "activation=tanh")


def label_noise(pool: Pool, rng: np.random.Generator) -> Case:
    """Labels of which a share is wrong, in a table that is too large to learn by heart."""
    problems = [p for p in pool.problems if p.classes and not _is_small(p)]
    case = healthy(pool, rng, problems[rng.integers(len(problems))])
    share = rng.uniform(0.2, 0.35)
    small = [text for text in pool.structures if text in SMALL]
    return _with(
        case,
        "label_noise",
        f"model.hidden={rng.choice(small)}",
        change=lambda x, y, generator: (x, _noisy(y, share, True, generator)),
    )


def _is_small(problem: Problem) -> bool:
    return problem.dataset[0].split("=")[1] in ("iris", "wine", "breast_cancer", "linear", "digits")


def unscaled_inputs(pool: Pool, rng: np.random.Generator) -> Case:
    """Columns in units that differ by orders of magnitude, unscaled."""
    case = healthy(pool, rng)

    def change(x, y, generator):
        power = generator.uniform(-3, 4, x.shape[1])
        power[generator.integers(x.shape[1])] = generator.uniform(2, 4)
        offset = generator.choice([0.0, 3.0], x.shape[1])
        return (x + offset * x.std(0)) * 10**power, y

    return _with(case, "unscaled_inputs", "dataset.scaling=none", change=change)


def unscaled_target(pool: Pool, rng: np.random.Generator) -> Case:
    """A target in hundreds, unscaled."""
    problems = [p for p in pool.problems if not p.classes]
    case = healthy(pool, rng, problems[rng.integers(len(problems))])
    factor, offset = 10 ** rng.uniform(2, 4), rng.choice([0.0, 3.0])
    return _with(
        case,
        "unscaled_target",
        "dataset.target_scaling=none",
        change=lambda x, y, generator: (x, (y / y.std() + offset) * factor),
    )


def imbalance(pool: Pool, rng: np.random.Generator) -> Case:
    """Overlapping classes of which one is rare."""
    problems = [p for p in pool.problems if p.classes and not _is_small(p)]
    case = healthy(pool, rng, problems[rng.integers(len(problems))])
    rare, spread = rng.uniform(0.03, 0.08), rng.uniform(0.4, 0.7)

    def change(x, y, generator):
        stays = (y != y.max()) | (generator.random(len(y)) < rare / (1 - rare))
        x = np.repeat(x[stays], 3, axis=0)
        y = np.repeat(y[stays], 3)
        return x + generator.normal(size=x.shape) * x.std(0) * spread, y

    return _with(case, "imbalance", "model.hidden=8-8", "training.epochs=40", change=change)


def symmetric_start(pool: Pool, rng: np.random.Generator) -> Case:
    """Weights that are all equal."""
    initializer = ["initializer=zeros"], ["initializer=constant", "initializer.value=0.3"]
    return _with(healthy(pool, rng), "symmetric_start", *initializer[rng.integers(2)])


def stuck(pool: Pool, rng: np.random.Generator) -> Case:
    """A structure that suffices from many starts; this one is kept if it failed."""
    problem, hidden = pool.stuck[rng.integers(len(pool.stuck))]
    case = healthy(pool, rng, problem)
    batch = ()
    if problem.dataset[0] == "dataset=boolean":
        kept = [t for t in case.overrides if not t.startswith("training")]
        case = dataclasses.replace(case, overrides=tuple(kept))
        batch = ("training=batch", f"training.epochs={problem.epochs}")
    activation = f"activation={rng.choice(['tanh', 'sigmoid', 'relu'])}"
    return _with(case, "stuck", f"model.hidden={hidden}", activation, *batch)


MAKERS: dict[str, Callable[[Pool, np.random.Generator], Case]] = {
    "healthy": healthy,
    **{
        maker.__name__: maker
        for maker in (
            unscaled_inputs,
            unscaled_target,
            imbalance,
            symmetric_start,
            saturated_start,
            vanishing_gradient,
            exploding_start,
            lr_too_high,
            lr_too_low,
            dead_units,
            stuck,
            too_few_units,
            label_noise,
            overfitting,
        )
    },
}


def case(pool: str, ailment: str, number: int) -> Case:
    """The case of this number: always the same. Of "stuck", SIBLINGS numbers in a row are the
    starts of one training.
    """
    start = 0
    if ailment == "stuck":
        number, start = divmod(number, SIBLINGS)
    key = [sorted(POOLS).index(pool), sorted(MAKERS).index(ailment), number]
    made = MAKERS[ailment](POOLS[pool], np.random.default_rng(key))
    if ailment != "stuck":
        return made
    return dataclasses.replace(made, data_seed=made.seed, seed=made.seed + start)
