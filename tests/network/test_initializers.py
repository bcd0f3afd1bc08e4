"""Every initializer: spread, equality with torch for the same generator, gain, bias, determinism.

Shapes: O outputs and I inputs of the layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mlplab.errors import FieldError
from mlplab.network.initializers import INITIALIZERS, Initializer, RandomInitializer
from mlplab.schema import meaning

NAMES = list(INITIALIZERS)


def build(name: str, **fields: Any) -> Initializer:
    return INITIALIZERS[name](**fields)


RANDOM = [name for name in NAMES if issubclass(INITIALIZERS[name], RandomInitializer)]
OUTPUTS, INPUTS = 300, 400


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(
    initializer: Initializer, shape: tuple[int, int] = (OUTPUTS, INPUTS), seed: int = 7
) -> Tensor:
    weight_OI = torch.full(shape, torch.nan, dtype=torch.float64)
    initializer.fill(weight_OI, seeded(seed))
    return weight_OI


def biases(initializer: Initializer, size: int = 5000, fan_in: int = INPUTS) -> Tensor:
    bias_O = torch.full((size,), torch.nan, dtype=torch.float64)
    initializer.fill_bias(bias_O, fan_in, seeded())
    return bias_O


def test_the_table_holds_every_initializer() -> None:
    assert len(INITIALIZERS) >= 14
    assert len(set(INITIALIZERS.values())) == len(INITIALIZERS)


def truncation(limit: float = 2.0) -> float:
    """Standard deviation of N(0, 1) truncated at +-limit."""
    density = math.exp(-(limit**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * limit * density / math.erf(limit / math.sqrt(2)))


# name -> (fields, standard deviation, largest magnitude or None)
SPREADS: dict[str, tuple[dict[str, Any], float, float | None]] = {
    "normal": ({"std": 0.3}, 0.3, None),
    "uniform": ({"low": -0.4, "high": 0.4}, 0.8 / math.sqrt(12), 0.4),
    "truncated_normal": ({"std": 3.0}, 3.0 * truncation(), 6.0),
    "xavier_normal": ({}, math.sqrt(2 / (INPUTS + OUTPUTS)), None),
    "xavier_uniform": ({}, math.sqrt(2 / (INPUTS + OUTPUTS)), math.sqrt(6 / (INPUTS + OUTPUTS))),
    "he_normal": ({}, math.sqrt(2 / INPUTS), None),
    "he_uniform": ({}, math.sqrt(2 / INPUTS), math.sqrt(6 / INPUTS)),
    "lecun_normal": ({}, math.sqrt(1 / INPUTS), None),
    "lecun_uniform": ({}, math.sqrt(1 / INPUTS), math.sqrt(3 / INPUTS)),
    "orthogonal": ({}, math.sqrt(1 / INPUTS), None),
    "sparse": ({"sparsity": 0.75, "std": 0.2}, 0.2 * math.sqrt(0.25), None),
    "torch_default": ({}, 1 / math.sqrt(3 * INPUTS), 1 / math.sqrt(INPUTS)),
}


def test_every_drawing_initializer_has_a_spread() -> None:
    assert set(SPREADS) == set(RANDOM)


@pytest.mark.parametrize("name", RANDOM)
def test_spread_is_the_formula(name: str) -> None:
    fields, std, limit = SPREADS[name]
    weight_OI = weights(build(name, **fields))
    # 120,000 numbers: a standard error of 0.2 % for normal ones
    assert weight_OI.std().item() == pytest.approx(std, rel=0.01)
    assert abs(weight_OI.mean().item()) < 5 * std / math.sqrt(weight_OI.numel())
    if limit is not None:
        assert 0.999 * limit < weight_OI.abs().max() <= limit


@pytest.mark.parametrize(
    "name", [name for name in RANDOM if name.endswith("normal") and name != "truncated_normal"]
)
def test_normal_weights_are_normal(name: str) -> None:
    weight_OI = weights(build(name))
    standard_OI = weight_OI / weight_OI.std()
    # uniform numbers give 1.8, truncated ones 2.4
    assert standard_OI.pow(4).mean().item() == pytest.approx(3, abs=0.1)
    assert standard_OI.abs().max() > 3.5


TORCH: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {
    "normal": ({"std": 0.3}, lambda w, g: nn.init.normal_(w, std=0.3, generator=g)),
    "uniform": ({"low": 0.1, "high": 0.4}, lambda w, g: nn.init.uniform_(w, 0.1, 0.4, generator=g)),
    "truncated_normal": (
        {"std": 0.3},
        lambda w, g: nn.init.trunc_normal_(w, std=0.3, a=-0.6, b=0.6, generator=g),
    ),
    "xavier_normal": ({}, lambda w, g: nn.init.xavier_normal_(w, generator=g)),
    "xavier_uniform": ({}, lambda w, g: nn.init.xavier_uniform_(w, generator=g)),
    "he_normal": ({}, lambda w, g: nn.init.kaiming_normal_(w, generator=g)),
    "he_uniform": ({}, lambda w, g: nn.init.kaiming_uniform_(w, generator=g)),
    "lecun_normal": ({}, lambda w, g: nn.init.normal_(w, std=math.sqrt(1 / 30), generator=g)),
    "lecun_uniform": (
        {},
        lambda w, g: nn.init.uniform_(w, -math.sqrt(3 / 30), math.sqrt(3 / 30), generator=g),
    ),
    "orthogonal": ({}, lambda w, g: nn.init.orthogonal_(w, generator=g)),
    "torch_default": (
        {},
        lambda w, g: nn.init.uniform_(w, -math.sqrt(1 / 30), math.sqrt(1 / 30), generator=g),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_weights_are_torchs_from_the_same_generator(name: str) -> None:
    fields, draw = TORCH[name]
    expected_OI = torch.empty(20, 30, dtype=torch.float64)
    draw(expected_OI, seeded())
    assert_close(weights(build(name, **fields), (20, 30)), expected_OI, rtol=1e-14, atol=1e-16)


def test_torch_default_is_nn_linear() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        linear = nn.Linear(30, 20, dtype=torch.float64)
    generator = seeded()
    weight_OI, bias_O = (
        torch.empty(20, 30, dtype=torch.float64),
        torch.empty(20, dtype=torch.float64),
    )
    initializer = build("torch_default")
    initializer.fill(weight_OI, generator)
    initializer.fill_bias(bias_O, 30, generator)
    assert torch.equal(weight_OI, linear.weight.detach())
    assert torch.equal(bias_O, linear.bias.detach())


def test_torch_default_biases_fill_their_range() -> None:
    limit = 1 / math.sqrt(INPUTS)
    bias_O = biases(build("torch_default", gain=3.0))
    assert 0.99 * limit < bias_O.max() <= limit
    assert -limit <= bias_O.min() < -0.99 * limit
    moved_O = biases(build("torch_default", bias=2.0))
    assert_close(moved_O, bias_O + 2, rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "torch_default"])
def test_biases_are_the_constant(name: str) -> None:
    assert (biases(build(name)) == 0).all()
    assert (biases(build(name, bias=-0.3)) == -0.3).all()


def test_constants() -> None:
    assert (weights(build("zeros")) == 0).all()
    assert (weights(build("constant", value=-0.25)) == -0.25).all()
    assert (weights(build("uniform", low=0.5, high=0.5)) == 0.5).all()


@pytest.mark.parametrize("shape", [(8, 8), (8, 20), (20, 8), (1, 5), (5, 1)])
def test_orthogonal(shape: tuple[int, int]) -> None:
    weight_OI = weights(build("orthogonal", gain=1.5), shape)
    gram = weight_OI @ weight_OI.T if shape[0] <= shape[1] else weight_OI.T @ weight_OI
    assert_close(gram, 1.5**2 * torch.eye(min(shape), dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("sparsity", "outputs", "zeros"),
    [(0.5, 20, 10), (0.51, 20, 11), (0.0, 20, 0), (0.9, 6, 5), (0.5, 1, 0)],
)
def test_sparse_counts_zeros_in_each_column(sparsity: float, outputs: int, zeros: int) -> None:
    weight_OI = weights(build("sparse", sparsity=sparsity, std=0.2), (outputs, 30))
    assert ((weight_OI == 0).sum(0) == zeros).all()
    full_OI = torch.empty(outputs, 30, dtype=torch.float64).normal_(0, 0.2, generator=seeded())
    assert_close(weight_OI, full_OI.masked_fill(weight_OI == 0, 0), rtol=0, atol=0)
    if sparsity == 0.5 and outputs == 20:
        assert not (weight_OI == 0).all(1).any()
        # each column has its own zeros
        assert len({tuple(column) for column in (weight_OI == 0).T.tolist()}) > 25
        torch_OI = nn.init.sparse_(
            torch.empty(outputs, 30, dtype=torch.float64), sparsity, 0.2, generator=seeded()
        )
        assert torch.equal((torch_OI == 0).sum(0), (weight_OI == 0).sum(0))


@pytest.mark.parametrize("name", RANDOM)
def test_gain_multiplies(name: str) -> None:
    fields = SPREADS[name][0]
    plain_OI = weights(build(name, **fields), (20, 30))
    assert_close(
        weights(build(name, gain=2.5, **fields), (20, 30)), 2.5 * plain_OI, rtol=1e-14, atol=0
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_alone_decides(name: str) -> None:
    initializer = build(name)
    before = torch.random.get_rng_state()
    first_OI, again_OI = weights(initializer, (20, 30)), weights(initializer, (20, 30))
    assert torch.equal(first_OI, again_OI)
    # nothing was drawn from the global generator
    assert torch.equal(torch.random.get_rng_state(), before)
    if name in RANDOM:
        assert not torch.equal(first_OI, weights(initializer, (20, 30), seed=8))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (6, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_small_layers_are_filled_inplace(name: str, shape: tuple[int, int]) -> None:
    storage_IO = torch.full(shape[::-1], torch.nan, dtype=torch.float64)
    # a transposed view, since the engine stores weights as [I, O]
    build(name).fill(storage_IO.T, seeded())
    assert storage_IO.isfinite().all()
    assert torch.equal(storage_IO.T, weights(build(name), shape))


@pytest.mark.parametrize(
    ("name", "fields", "key"),
    [
        ("uniform", {"low": 1.0, "high": 0.5}, "low"),
        ("normal", {"std": 0.0}, "std"),
        ("sparse", {"sparsity": 1.0}, "sparsity"),
        ("he_normal", {"gain": 0.0}, "gain"),
        ("he_normal", {"gain": math.inf}, "gain"),
        ("zeros", {"bias": math.nan}, "bias"),
    ],
)
def test_bad_numbers_are_refused(name: str, fields: dict[str, Any], key: str) -> None:
    with pytest.raises(FieldError) as error:
        build(name, **fields)
    assert error.value.key == key


@pytest.mark.parametrize("name", NAMES)
def test_each_class_is_documented(name: str) -> None:
    first = meaning(INITIALIZERS[name])
    assert first.endswith(".")
    assert len(first) < 110


def test_given_weights_are_those_of_each_layer() -> None:
    given = build("given", weights=[[[1, 2], [3, 4], [5, 6]], [[7, 8, 9]]], biases=[[1, 2, 3], [4]])
    first, second = given.of_layer(0, 2), given.of_layer(1, 2)
    assert weights(first, (3, 2)).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert weights(second, (1, 3)).tolist() == [[7, 8, 9]]
    assert biases(first, 3).tolist() == [1, 2, 3]
    assert biases(second, 1).tolist() == [4]
    one_layer = build("given", weights=[[1, 2]], bias=0.5)  # the initializer of one layer
    assert weights(one_layer.of_layer(3, 7), (1, 2)).tolist() == [[1, 2]]
    assert biases(one_layer, 2).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": [[[1, 2], [3, 4]], [[5, 6]]]}, r"layer 1 .* has 2 x 2, the layer needs 3 x 2"),
        ({"weights": [[[1, 2], [3, 4], [5]], [[5, 6]]]}, "rows of different lengths"),
        ({"weights": [[[1, 2], [3, 4], [5, 6]]]}, "is for 1 layers, the network has 2"),
        ({"biases": [[1, 2], [3]]}, r"layer 1 .* has 2, the layer needs 3 \(units\)"),
        ({"weights": [["a"]]}, "is not a list of finite numbers"),
        ({"biases": [math.nan]}, "is not a list of finite numbers"),
        ({"weights": 3}, "is not a list of finite numbers"),
    ],
)
def test_given_weights_of_another_shape_are_refused(fields: dict[str, Any], message: str) -> None:
    def fill() -> None:
        layer = build("given", **fields).of_layer(0, 2)
        weights(layer, (3, 2))
        biases(layer, 3)

    with pytest.raises(FieldError, match=message):
        fill()
