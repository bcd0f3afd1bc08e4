"""Block layers: values against dense matrices, training against torch, export as plain PyTorch."""

from __future__ import annotations

import dataclasses
import io
import math

import pytest
import torch
from building import make_settings

from mlplab.errors import IncompatibleSettingsError
from mlplab.network import Block, Layer, as_module, hidden_widths, scaling_blocks, stacked_states
from mlplab.network.activations import Identity, Relu, Sine, Tanh
from mlplab.network.blocks import BlockPlan
from mlplab.network.initializers import Constant, HeNormal, Initializer, Normal, Uniform
from mlplab.training import Session, build_population, prepare_members

EMBEDDING = (
    Block(0, 1, 5),
    Block(0, 1, 1, identity=True),
    Block(1, 1, 5),
    Block(0, 2, 2, identity=True),
    Block(0, 2, 3),
)


def embedding_layers(**factors):
    """A factor for each feature, then overlapping blocks of two sizes with copies, then a layer of
    blocks that reads those."""
    initializer = Uniform(low=-1, high=1)
    return (
        Layer.of_blocks(scaling_blocks(2), Identity(), Constant(value=1.0), bias=False, **factors),
        Layer.of_blocks(
            EMBEDDING,
            Sine(),
            Normal(std=2.0),
            bias_initializer=Uniform(low=-math.pi, high=math.pi),
            **factors,
        ),
        Layer.of_blocks([Block(0, 6, 2), Block(6, 6, 2), Block(9, 6, 2)], Relu(), initializer),
    )


def embedding_settings(seed=0, factors=None, **options):
    settings = make_settings(seed, hidden=(8,), **options)
    return dataclasses.replace(
        settings, layers=(*embedding_layers(**(factors or {})), *settings.layers)
    )


def population_of(*settings):
    return build_population(prepare_members(settings))[0]


def views_of(population):
    layout = population.network.layout
    return layout.layers(layout.split(population.theta_KP))


def test_outputs_are_those_of_dense_matrices():
    population = population_of(embedding_settings(0), embedding_settings(1))
    network = population.network
    h_KBI = torch.randn(2, 40, 2, dtype=torch.float64)
    outputs = network.forward(views_of(population), h_KBI, {})
    for i, view in enumerate(views_of(population)):
        weight, bias = network.dense(i, view)
        z = torch.baddbmm(bias, h_KBI, weight) if bias is not None else h_KBI @ weight
        torch.testing.assert_close(network.signal(i, view, h_KBI, {}), z)
        h_KBI = network.activated(i, view, z)
    torch.testing.assert_close(outputs, h_KBI)


def test_only_the_weights_of_blocks_are_parameters():
    layout = population_of(embedding_settings()).network.layout
    sizes = {(entry.layer, entry.name): entry.size for entry in layout.entries}
    assert sizes[0, "weight"] == 2
    assert (0, "bias") not in sizes
    assert (sizes[1, "weight"], sizes[1, "bias"]) == (5 + 5 + 6, 5 + 5 + 3)
    assert (sizes[2, "weight"], sizes[2, "bias"]) == (3 * 6 * 2, 6)
    assert hidden_widths(embedding_settings().layers) == [8]


def test_blocks_start_like_layers_of_their_size():
    layers = (
        Layer.of_blocks([Block(i, 4, 2000) for i in (0, 1)], Tanh(), HeNormal(bias=0.5)),
        *make_settings(hidden=()).layers,
    )
    settings = dataclasses.replace(
        make_settings(dataset="iris"), layers=layers, dataset=make_settings(dataset="iris").dataset
    )
    with pytest.raises(ValueError, match="reads 5 of 4 inputs"):
        population_of(settings)
    layers = (dataclasses.replace(layers[0], blocks=(Block(0, 4, 2000), Block(0, 4, 2000))),)
    population = population_of(
        dataclasses.replace(settings, layers=(*layers, *settings.layers[1:]))
    )
    weight, bias = (views_of(population)[0].weight, views_of(population)[0].bias)
    first, second = weight[0, 0].view(2, -1)
    assert not torch.equal(first, second)
    assert float(first.std()) == pytest.approx(math.sqrt(2 / 4), rel=0.05)
    assert bias.unique().tolist() == [0.5]


def test_an_initializer_may_have_values_for_each_block():
    class Edges(Initializer):
        def fill_blocks(self, weight_GOI, positions, generator):
            weight_GOI.copy_(torch.tensor(positions).view(-1, 1, 1).expand_as(weight_GOI))

    layer = Layer.of_blocks(EMBEDDING, Identity(), Edges(), bias_initializer=Edges())
    settings = make_settings(hidden=(4,))
    population = population_of(dataclasses.replace(settings, layers=(layer, *settings.layers)))
    view = views_of(population)[0]
    assert view.weight[0, 0].tolist() == [0.0] * 5 + [2.0] * 5 + [4.0] * 6
    assert view.bias[0, 0].tolist() == [0.0] * 5 + [2.0] * 5 + [4.0] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 3}, "has blocks of 16 outputs"),
        ({"normalization": "layer"}, "no normalization"),
        ({"dropout": 0.5}, "no dropout"),
        ({"activation": None}, "has an activation"),
        ({"lr_factor": -1.0}, "cannot be multiplied by -1"),
        ({"bias_lr_factor": math.nan}, "cannot be multiplied by nan"),
    ],
)
def test_impossible_layers_are_refused(change, message):
    layer = Layer.of_blocks(EMBEDDING, Tanh(), HeNormal())
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(layer, **change)


@pytest.mark.parametrize(
    ("block", "message"),
    [((-1, 1, 1), "column 0"), ((0, 0, 1), "no inputs"), ((0, 2, 3, True), "as many outputs")],
)
def test_impossible_blocks_are_refused(block, message):
    with pytest.raises(ValueError, match=message):
        Block(*block)


def test_a_layer_needs_an_affine_block():
    with pytest.raises(ValueError, match="affine"):
        BlockPlan([Block(0, 2, 2, identity=True)])


def train(*settings):
    session = Session.of(prepare_members(settings))
    session.run()
    return session.outcomes()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adam"])
def test_learning_rate_factors_are_those_of_parameter_groups(optimizer):
    factors = {"lr_factor": 0.5, "bias_lr_factor": 0.0}
    settings = embedding_settings(
        factors=factors, optimizer=optimizer, training="batch", epochs=30, shuffle=False
    )
    population = population_of(settings)
    module = as_module(
        population.network.layout, population.network.layers, population.theta_KP[0], {}
    )
    lr = settings.optimizer.lr
    groups = [
        {
            "params": [parameter],
            "lr": lr * (1 if int(name[0]) > 1 else 0.5 if "weight" in name else 0.0),
        }
        for name, parameter in module.named_parameters()
    ]
    of_torch = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    updates = of_torch[optimizer](groups, lr=lr)
    data = population.data["train"]
    for _ in range(30):
        updates.zero_grad()
        torch.nn.functional.cross_entropy(module(data.x[0]), data.y[0]).backward()
        updates.step()
    (outcome,) = train(settings)
    expected = torch.cat([p.detach().t().flatten() for p in module.parameters()])
    torch.testing.assert_close(outcome.last_theta_P, expected, rtol=0, atol=1e-10)


def test_factors_of_one_change_nothing():
    settings = embedding_settings(epochs=2)
    assert population_of(settings).lr_factors is None
    # another member's factors make all of them a tensor, with the same bits
    other = embedding_settings(1, {"lr_factor": 0.1}, epochs=2)
    together, alone = train(settings, other)[0], train(settings)[0]
    assert torch.allclose(together.last_theta_P, alone.last_theta_P, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["rprop", "torch"])
def test_optimizers_without_proportional_steps_are_refused(optimizer):
    settings = embedding_settings(factors={"lr_factor": 2.0}, optimizer=optimizer)
    with pytest.raises(IncompatibleSettingsError, match="multiplies its learning rate"):
        train(settings)


def module_of(population, member=0):
    network = population.network
    return as_module(network.layout, network.layers, population.theta_KP[member], {})


def test_module_predicts_the_same_and_has_the_stacked_state():
    population = population_of(embedding_settings(0), embedding_settings(1))
    x_BF = torch.randn(50, 2, dtype=torch.float64)
    expected = population.network.forward(views_of(population), x_BF.expand(2, -1, -1), {})
    network = population.network
    states = stacked_states(network.layout, network.layers, population.theta_KP, {})
    for k in range(2):
        module = module_of(population, k)
        torch.testing.assert_close(module(x_BF), expected[k])
        state = module.state_dict()
        assert list(state) == list(states)
        assert all(torch.equal(states[name][k], value) for name, value in state.items())


def test_module_is_stored_without_classes_of_mlplab():
    module = module_of(population_of(embedding_settings()))
    buffer = io.BytesIO()
    torch.save(module, buffer)
    assert b"mlplab" not in buffer.getvalue()
    buffer.seek(0)
    loaded, x_BF = torch.load(buffer, weights_only=False), torch.ones(3, 2, dtype=torch.float64)
    assert torch.equal(loaded(x_BF), module(x_BF))
    assert list(loaded.state_dict()) == list(module.state_dict())


def test_module_is_traced_by_torch_export():
    module = module_of(population_of(embedding_settings()))
    x_BF = torch.randn(6, 2, dtype=torch.float64)
    sizes = ({0: torch.export.Dim("rows")},)
    program = torch.export.export(module, (x_BF,), dynamic_shapes=sizes).module()
    torch.testing.assert_close(program(x_BF[:3]), module(x_BF[:3]))
