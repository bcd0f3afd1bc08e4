"""The native engine trains block layers, and multiplies learning rates, as the eager one does."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from building import make_settings
from harness import size
from native_training import EPOCHS, assert_parity, assert_same_bits, train

from mlplab.native.variants import COMPONENTS
from mlplab.network import ACTIVATIONS, Block, Layer, scaling_blocks
from mlplab.network.activations import Identity, Prelu, Relu, Sine, Tanh
from mlplab.network.blocks import BlockPlan
from mlplab.network.initializers import Constant, HeUniform, Normal, Uniform
from mlplab.training import prepare_members
from mlplab.training.native_layers import layer_arrays, sections_of
from mlplab.training.prepare import build_population

SCALING = Layer.of_blocks(
    scaling_blocks(2), Identity(), Constant(value=1.0), bias=False, lr_factor=6.0
)
WAVES = Layer.of_blocks(
    [Block(0, 1, 17), Block(1, 1, 17), Block(0, 2, 2, identity=True)],
    Sine(frequency=2 * math.pi),
    Normal(std=0.5),
    bias_initializer=Uniform(low=-0.5, high=0.5),
    lr_factor=0.5,
    bias_lr_factor=0.1,
)
PARTITION = Layer.of_blocks(
    [Block(0, 17, 3), Block(34, 1, 1, identity=True), Block(17, 17, 3), Block(35, 1, 2)],
    Tanh(),
    HeUniform(),
)
OVERLAPPING = Layer.of_blocks(
    [Block(0, 20, 18), Block(10, 20, 18), Block(12, 3, 3, identity=True), Block(13, 2, 2)],
    Relu(),
    HeUniform(),
)
LEARNED = Layer.of_blocks(
    [Block(0, 8, 4), Block(4, 4, 4, identity=True), Block(8, 8, 4)], Prelu(), HeUniform()
)


def with_blocks(*layers, hidden=(16,), **options):
    settings = make_settings(hidden=hidden, **options)
    return dataclasses.replace(settings, layers=(*layers, *settings.layers))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "layers",
    [(SCALING, WAVES, PARTITION), (SCALING, WAVES, OVERLAPPING, LEARNED)],
    ids=["partition", "overlapping"],
)
def test_layers_of_blocks(layers, dtype):
    assert_parity(with_blocks(*layers, dtype=dtype, epochs=EPOCHS))


def test_with_normalization_dropout_and_penalties():
    settings = with_blocks(
        *(WAVES, PARTITION),
        layer={"normalization": "batch", "dropout": 0.2},
        l2=0.01,
        l1=0.001,
        clip_norm=0.5,
        epochs=EPOCHS,
    )
    assert_parity(settings)


def test_activation_that_learns_in_a_layer_of_blocks():
    scaling = Layer.of_blocks(scaling_blocks(36), Prelu(), Constant(value=0.5))
    layers = (dataclasses.replace(WAVES, activation=Prelu()), scaling)
    assert_parity(with_blocks(*layers, epochs=EPOCHS))


@pytest.mark.parametrize(
    "optimizer", [name for name, cls in COMPONENTS["optimizer"].items() if cls.scales_with_lr]
)
def test_learning_rate_factors_of_every_optimizer(optimizer):
    layer = {"lr_factor": 0.5, "bias_lr_factor": 0.0}
    lr = {"adadelta": 1.0, "lion": 0.003, "sgd": 0.05}.get(optimizer, 0.01)
    component = COMPONENTS["optimizer"][optimizer](lr=lr)
    assert_parity(make_settings(optimizer=component, layer=layer, epochs=6))


def random_blocks(draw: random.Random, inputs: int):
    blocks, copies = [], draw.random() < 0.5
    for _ in range(draw.randint(1, 6)):
        width = draw.choice([1, 1, 2, inputs])
        width = min(width, inputs)
        start = draw.randint(0, inputs - width)
        blocks += [Block(start, width, draw.choice([1, 2, 5, 8, 17]))] * draw.randint(1, 2)
        if copies:
            blocks.append(Block(start, width, width, identity=True))
    return Layer.of_blocks(
        blocks,
        ACTIVATIONS[draw.choice(["tanh", "sine", "identity", "softplus"])](),
        Uniform(low=-1, high=1),
        bias=draw.random() < 0.8,
        lr_factor=draw.choice([1.0, 1.0, 0.1]),
    )


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("seed", range(size(4, 100)))
def test_random_layers_of_blocks(seed):
    draw = random.Random(seed)
    layers, inputs = [], 2
    for _ in range(draw.randint(1, 3)):
        layers.append(random_blocks(draw, inputs))
        inputs = layers[-1].units
    assert_parity(with_blocks(*layers, epochs=5, batch_size=draw.choice([1, 7, 32, 50])))


def test_bits_of_a_member_do_not_depend_on_the_others(monkeypatch):
    def member(seed):
        factors = {"lr_factor": 0.25 * seed, "bias_lr_factor": 1.0 / (1 + seed)}
        waves = dataclasses.replace(WAVES, activation=Sine(frequency=1.0 + seed), **factors)
        return with_blocks(SCALING, waves, PARTITION, seed=seed, dtype="float32", epochs=3)

    together = train([member(seed) for seed in range(5)], "native")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for seed in (0, 3):
        assert_same_bits(train([member(seed)], "native")[0], together[seed])


def test_consecutive_blocks_of_one_size_are_one_structure():
    population, _ = build_population(prepare_members([with_blocks(SCALING, WAVES, PARTITION)]))
    plan = BlockPlan(scaling_blocks(2))
    assert [group.positions for group in plan.groups] == [(0, 1)]
    arrays = layer_arrays(population.network)
    rows = arrays["layer_blocks"].reshape(-1, 7)
    assert rows[:3].tolist() == [
        [2, 0, 1, 0, 1, 0, -1],
        [2, 0, 1, 0, 17, 2, 2 + 34],
        [1, 0, 2, 34, 2, -1, -1],
    ]
    assert arrays["first_blocks"].tolist() == [0, 1, 3, 7, 7, 7]
    assert arrays["are_partitions"].tolist() == [1, 0, 1, 0, 0]


def test_sections_of_factors():
    factors_KP = torch.tensor([[1.0, 1.0, 2.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0, 2.0]])
    ends, factors_KS = sections_of(factors_KP)
    np.testing.assert_array_equal(ends, [2, 3, 5])
    np.testing.assert_array_equal(factors_KS, [[1, 2, 1], [1, 2, 2]])
