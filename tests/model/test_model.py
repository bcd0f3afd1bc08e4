"""A prediction depends on its row only: neither on the other rows, nor on how they are divided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from building import make_settings

from mlplab.errors import NotFiniteError
from mlplab.losses import LOSSES
from mlplab.model import model as model_module
from mlplab.model.ensemble import Ensemble
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing
from mlplab.network import ACTIVATIONS, affine
from mlplab.network.affine import BLOCK_ROWS, VECTOR_ROWS, affine_in_blocks
from mlplab.training import prepare_members

NUM_ROWS = 10_000
DATASETS = {"classification": "two_layer_radial", "regression": "sine"}
NAMES = sorted(set(LOSSES) - {"auto"})


def model_of(members: int = 1, loss: str = "auto", **fields) -> Model:
    """Members with random weights and random running statistics."""
    settings = make_settings(**fields)
    preprocessing = Preprocessing.of(prepare_members([settings])[0].prepared)
    settings = replace(settings, loss=LOSSES[loss]())
    empty = Model.of(settings, preprocessing, torch.zeros(1, 0), {})
    generator = torch.Generator().manual_seed(0)

    def random(like: torch.Tensor) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator, dtype=torch.float64)

    shape = members, empty.network.layout.num_parameters
    theta_KP = torch.randn(shape, generator=generator, dtype=torch.float64)
    buffers = empty.network.buffers(members, torch.float64, torch.device("cpu"))
    statistics = {name: 0.5 + random(value) for name, value in buffers.items()}
    return replace(empty, theta_KP=theta_KP, buffers=statistics)


def rows_of(model: Model, number: int = NUM_ROWS) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(number, model.network.num_features))


def assert_rows_are_independent(model: Model, number: int = NUM_ROWS) -> None:
    """Compare rows alone, in batches of 7 and among all rows, at several positions."""
    x = rows_of(model, number)
    scores = model.scores(x)
    assert scores.shape[:2] == (len(model), number)
    positions = [0, 1, 6, BLOCK_ROWS - 1, BLOCK_ROWS, number // 2, number - 1]
    for position in positions:
        expected = scores[:, position]
        assert np.array_equal(model.scores(x[[position]])[:, 0], expected), position
        seven = np.delete(x[:7], position, 0)[:6] if position < 7 else x[:6]
        for offset in (0, 3, 6):
            batch = np.insert(seven, offset, x[position], 0)
            assert np.array_equal(model.scores(batch)[:, offset], expected), (position, offset)
    order = np.random.default_rng(1).permutation(number)
    assert np.array_equal(model.scores(x[order]), scores[:, order])


@pytest.mark.parametrize("loss", NAMES)
def test_every_loss_predicts_rows_independently(loss):
    task = LOSSES[loss].tasks[0]
    model = model_of(dataset=DATASETS[task], loss=loss, hidden=(7, 5), activation="sigmoid")
    assert_rows_are_independent(model, 1000)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_predicts_rows_independently(activation):
    assert_rows_are_independent(model_of(activation=activation, hidden=(7, 5)), 1000)


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("members", [1, 3])
def test_rows_are_independent_of_ten_thousand_others(normalization, dropout, members):
    layer = {"normalization": normalization, "dropout": dropout}
    assert_rows_are_independent(model_of(members, hidden=(13, 6), layer=layer))


@pytest.mark.parametrize("hidden", [(1,), (3,), (64, 3), (33, 257)])
def test_rows_are_independent_for_every_width(hidden):
    assert_rows_are_independent(model_of(hidden=hidden, activation="gelu"), 500)


@pytest.fixture
def five_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    yield
    assert torch.get_num_threads() == 5
    torch.set_num_threads(before)


def test_rows_are_independent_with_several_threads(five_threads):
    """Five threads would divide a layer of this width between two rows of a vector."""
    assert_rows_are_independent(model_of(hidden=(2051,), activation="sigmoid"), 2 * BLOCK_ROWS)


@pytest.mark.parametrize("max_elements", [1, 5000, 1 << 20])
def test_the_size_of_a_chunk_changes_nothing(max_elements, monkeypatch):
    model = model_of(5, hidden=(6, 9), layer={"normalization": "batch"})
    x = rows_of(model, 1000)
    expected = model.scores(x)
    monkeypatch.setattr(model_module, "MAX_ELEMENTS", max_elements)
    assert np.array_equal(model.scores(x), expected)


def test_a_member_predicts_alone_as_among_others():
    model = model_of(40, hidden=(6, 9), layer={"normalization": "batch"})
    x = rows_of(model, 50)
    scores = model.scores(x)
    for k in (0, 17, 39):
        buffers = {name: value[[k]] for name, value in model.buffers.items()}
        alone = replace(model, theta_KP=model.theta_KP[[k]], buffers=buffers)
        assert np.array_equal(alone.scores(x)[0], scores[k])


@pytest.mark.parametrize(
    ("inputs", "outputs"), [(1, 1), (2, 3), (9, 33), (64, 1), (100, 33), (257, 64), (500, 3)]
)
def test_a_product_in_blocks_is_the_product(inputs, outputs):
    generator = torch.Generator().manual_seed(0)
    h_KBI, weight_KIO, bias_K1O = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((3, 2 * BLOCK_ROWS, inputs), (3, inputs, outputs), (3, 1, outputs))
    )
    product = affine_in_blocks(h_KBI, weight_KIO, bias_K1O)
    torch.testing.assert_close(product, h_KBI @ weight_KIO + bias_K1O, rtol=1e-12, atol=1e-12)
    order = torch.randperm(2 * BLOCK_ROWS, generator=generator)
    assert torch.equal(affine_in_blocks(h_KBI[:, order], weight_KIO, bias_K1O), product[:, order])


def test_a_few_rows_are_filled_up_where_small_products_have_other_bits(monkeypatch):
    model = model_of(3, hidden=(13, 6))
    expected = model.scores(rows_of(model))[:, :20]
    rows: set[int] = set()
    matmul = np.matmul

    def recorded(blocks, weight, **options):
        rows.add(blocks.shape[-2])
        return matmul(blocks, weight, **options)

    monkeypatch.setattr(affine, "_rows_are_same_in_small_blocks", lambda *_: False)
    monkeypatch.setattr(np, "matmul", recorded)
    assert np.array_equal(model.scores(rows_of(model)[:20]), expected)
    assert rows == {BLOCK_ROWS}


def test_small_blocks_are_not_used_if_their_bits_differ(monkeypatch):
    matmul = np.matmul

    def rounds_small_products(blocks, weight, **options):
        product = matmul(blocks, weight, **options)
        return np.nextafter(product, 1e9) if blocks.shape[-2] == VECTOR_ROWS else product

    monkeypatch.setattr(np, "matmul", rounds_small_products)
    assert not affine._rows_are_same_in_small_blocks.__wrapped__(31, 7)
    monkeypatch.setattr(np, "matmul", matmul)
    assert_rows_are_independent(model_of(3, hidden=(31, 7)), 500)


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_module_of_a_member_is_the_network(normalization, dtype):
    layer = {"normalization": normalization, "dropout": 0.5}
    model = model_of(2, hidden=(5, 4), activation="prelu", layer=layer)
    settings = make_settings(hidden=(5, 4), activation="prelu", layer=layer, dtype=dtype)
    x = rows_of(model, 20)
    module = model.module(1).to(getattr(torch, dtype))
    again = Model.of_state(settings, model.preprocessing, module.state_dict())
    assert str(again.theta_KP.dtype) == f"torch.{dtype}"
    for name, value in again.module().state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name
    with torch.no_grad():
        outputs = module.double()(torch.from_numpy(x))
    expected = model.loss.predict(outputs.unsqueeze(0))[0].numpy()
    np.testing.assert_allclose(again.scores(x)[0], expected, rtol=1e-12, atol=1e-15)


def test_an_ensemble_averages_every_row_alone():
    """Models of two structures and two preprocessings; one value, so that a batch of one row is one
    number per member.
    """
    models = [model_of(11, dataset="sine", hidden=hidden) for hidden in ((4,), (6, 3))]
    scaler = replace(models[0].preprocessing.feature_scaler, shift=np.array([0.3]))
    scaled = replace(models[0].preprocessing, feature_scaler=scaler)
    models.append(replace(models[0], preprocessing=scaled))
    ensemble = Ensemble(models)
    assert [len(group) for group in ensemble.groups] == [2, 1]
    x = rows_of(models[0], 300)
    mean_NT, spread_NT = ensemble.scores(x)
    scores_KNT = np.concatenate([model.scores(model.preprocessing.features(x)) for model in models])
    np.testing.assert_allclose(mean_NT, scores_KNT.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(spread_NT, scores_KNT.std(0), rtol=1e-12, atol=1e-12)
    for row in (0, 7, 299):
        assert [values[0] for values in ensemble.scores(x[[row]])] == [
            mean_NT[row],
            spread_NT[row],
        ]


def test_an_ensemble_in_chunks_counts_the_rows(monkeypatch):
    model = model_of(3, dataset="sine", hidden=(4,), activation="relu")
    x = rows_of(model, 500)
    expected = Ensemble([model]).scores(x)
    monkeypatch.setattr("mlplab.model.ensemble.MAX_MEMBER_ROWS", 600)
    for values, others in zip(Ensemble([model]).scores(x), expected, strict=True):
        assert np.array_equal(values, others)
    x[431] = 1e308
    model.theta_KP.abs_().mul_(10)
    with pytest.raises(NotFiniteError, match=r"f\.csv, row 432: "):
        Ensemble([model]).scores(x, "f.csv", 1)


def test_no_rows_are_predicted_as_no_rows():
    model = model_of()
    assert model.scores(rows_of(model, 0)).shape == (1, 0, model.preprocessing.task.num_classes)
