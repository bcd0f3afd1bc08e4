"""Trainings that go badly for one reason, and their healthy neighbors."""

from __future__ import annotations

import dataclasses

import numpy as np

from mlplab.config import settings_from_overrides
from mlplab.data.tabular.arrays_dataset import with_data
from mlplab.data.tabular.collecting import collect
from mlplab.doctor import Evidence
from mlplab.training import Session, prepare_members


def rings(rows=400, noise=0.0, rare=None):
    """A disc in a ring: x [N, 2] and labels [N], a share of which is wrong, or one class rare."""
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 2 if rare is None else (rng.random(rows) < rare).astype(int)
    angle, radius = rng.uniform(0, 2 * np.pi, rows), rng.uniform(0, 1, rows) + 1.5 * y
    if rare is not None:
        radius -= 1.2 * y  # the rare class lies among the other
    y = np.where(rng.random(rows) < noise, 1 - y, y)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), y


def _skewed():
    """The rings in units that differ by orders of magnitude."""
    x, y = rings()
    return x * [1e-3, 1e3] + [0, 3e3], y


def make_settings(overrides, data=None):
    """The settings of overrides, on a table from Python if one is passed."""
    options = _last_of_each_key(overrides)
    if data is None:
        return settings_from_overrides([*options, "tracking=off"])
    table = collect(*data)
    settings = settings_from_overrides(
        [
            "experiment=null",
            "dataset=arrays",
            f"dataset.data_hash={table.sha256}",
            *options,
            "tracking=off",
        ]
    )
    return dataclasses.replace(settings, dataset=with_data(settings.dataset, table))


def _last_of_each_key(overrides):
    """Overrides of which a later one replaces an earlier one of the same key."""
    return list({text.split("=")[0]: text for text in overrides.split()}.values())


def train(settings):
    """The evidence of the trainings of these settings, all trained in one session."""
    members = prepare_members(settings)
    session = Session.of(members)
    session.run()
    return [
        Evidence.of_outcome(member, outcome)
        for member, outcome in zip(members, session.outcomes(), strict=True)
    ]


CURVE = "dataset=sine dataset.num_samples=200 model.hidden=16-16 optimizer.lr=0.01"
MOONS = "dataset=moons dataset.num_samples=200 model.hidden=16 optimizer.lr=0.02"
QUICK = "training=minibatch training.epochs=40"
RINGS = "model.hidden=16 optimizer.lr=0.02"
GATE = "dataset=boolean model.hidden=2 training=batch training.epochs=600 optimizer.lr=0.05"
DEEP = "model.hidden=8x10 activation=sigmoid"
EXAMPLES = {
    # diagnosis -> what makes the neighbor below ill, the neighbor, and tables for both
    "unscaled_inputs": (
        "dataset.scaling=none",
        "model.hidden=16 optimizer.lr=0.02",
        (_skewed(), _skewed()),
    ),
    "unscaled_target": ("dataset.target_scaling=none", "dataset=diabetes optimizer.lr=0.01", None),
    "imbalance": ("", "model.hidden=8 optimizer.lr=0.01", (rings(rare=0.06), rings())),
    "symmetric_start": ("initializer=zeros", MOONS, None),
    "saturated_start": ("initializer=normal initializer.std=40", CURVE, None),
    "vanishing_gradient": (DEEP, MOONS, None),
    "exploding_start": (
        "activation=relu initializer=normal initializer.std=3 model.hidden=48-48-48",
        CURVE,
        None,
    ),
    "lr_too_high": ("optimizer.lr=30", MOONS, None),
    "lr_too_low": ("optimizer.lr=0.00001", MOONS, None),
    "dead_units": ("activation=relu initializer=he_normal initializer.bias=-6", MOONS, None),
    "stuck": ("seed=3", GATE, None),
    "too_few_units": ("model.hidden=1", MOONS.replace("moons", "playground_circle"), None),
    "label_noise": ("", "model.hidden=8 optimizer.lr=0.01", (rings(noise=0.3), rings())),
    "overfitting": (
        "dataset.val=0.4 dataset.test=0 model.hidden=64-64 training.epochs=250",
        "optimizer.lr=0.01",
        (rings(100, noise=0.2), rings(400)),
    ),
}


def settings_pair(name):
    """The settings of an ill run and of its healthy neighbor."""
    change, base, tables = EXAMPLES[name]
    ill, healthy = tables or (None, None)
    common = "" if "training=" in base else QUICK
    return make_settings(f"{base} {common} {change}", ill), make_settings(
        f"{base} {common}", healthy
    )
