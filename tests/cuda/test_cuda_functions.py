"""The functions used in training, called directly on both devices: activations, losses, random
numbers, batches, dropout and metrics.

Shapes: K members, B examples, H units, C outputs, N numbers.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from building import field_names, make_settings
from comparing import DTYPES, REFERENCE, assert_close, varied

from mlplab import metrics, randomness
from mlplab.losses import LOSSES, resolve_auto_loss
from mlplab.network import ACTIVATIONS, INITIALIZERS, Dropout
from mlplab.stacking import stack
from mlplab.task import Task
from mlplab.training import build_population, prepare_members
from mlplab.training_options import STYLES

# For a single call, without steps that amplify: both devices round each operation to the same
# precision, and exponentials, logarithms and sines to a few units in the last digit.
ONE_CALL = {"float64": 1e-13, "float32": 1e-5}
NUM_MEMBERS = 4
COUNTERS = (0, 7, 12345678901)


def assert_bits_equal(actual, expected):
    assert actual.dtype == expected.dtype
    assert torch.equal(actual.cpu(), expected.cpu())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_have_the_same_values_and_gradients(name, dtype, device_under_test):
    components = [varied(ACTIVATIONS[name], k) for k in range(NUM_MEMBERS)]
    grid_H = torch.cat(
        [torch.linspace(-8, 8, 401, dtype=torch.float64), torch.tensor([-1e4, 0.0, 1e4])]
    )

    def computed(device):
        activation = stack(components, device)
        z_KBH = grid_H.to(device, getattr(torch, dtype)).expand(NUM_MEMBERS, 2, -1)
        z_KBH = z_KBH.contiguous().requires_grad_()
        learned_K1Q = (
            torch.tensor(components[0].initial_parameters(), device=device)
            .to(z_KBH.dtype)
            .expand(NUM_MEMBERS, 1, -1)
        )
        arguments = (z_KBH, learned_K1Q) if components[0].num_parameters() else (z_KBH,)
        value_KBH = activation(*arguments)
        if not value_KBH.requires_grad:  # a step is constant between its jumps
            return value_KBH, torch.zeros_like(z_KBH)
        return value_KBH, torch.autograd.grad(value_KBH.sum(), z_KBH)[0]

    for actual_KBH, reference_KBH in zip(
        computed(device_under_test), computed(REFERENCE), strict=True
    ):
        assert actual_KBH.device.type == device_under_test
        assert actual_KBH.dtype == getattr(torch, dtype)
        # separately near zero and far from it, so that the largest value does not hide the others
        assert_close(actual_KBH[..., :401], reference_KBH[..., :401], ONE_CALL[dtype], name)
        assert_close(actual_KBH[..., 401:], reference_KBH[..., 401:], ONE_CALL[dtype], name)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_keep_nan(name, device_under_test):
    activation = ACTIVATIONS[name]()
    z_KBH = torch.full((1, 1, 1), torch.nan, device=device_under_test)
    learned_K1Q = torch.tensor([[activation.initial_parameters()]], device=device_under_test)
    on_cpu = (z_KBH.cpu(), learned_K1Q.cpu())
    count = 2 if activation.num_parameters() else 1
    actual_KBH = activation(*(z_KBH, learned_K1Q)[:count])
    assert actual_KBH.isnan().item() == activation(*on_cpu[:count]).isnan().item()


def task_of(name):
    """A task that the loss supports; some support only two classes."""
    if "classification" not in LOSSES[name].tasks:
        return Task("regression", num_targets=2)
    three = Task("classification", 3)
    return three if LOSSES[name]().incompatibility(three) is None else Task("classification", 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_examples", [50, 1000])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_the_same_values_and_gradients(name, num_examples, dtype, device_under_test):
    task = task_of(name)
    components = [resolve_auto_loss(varied(LOSSES[name], k), task) for k in range(NUM_MEMBERS)]
    generator = torch.Generator().manual_seed(1)
    shape = (NUM_MEMBERS, num_examples, components[0].num_outputs(task))
    outputs_KBC = torch.randn(shape, generator=generator, dtype=torch.float64)
    if task.classifies:
        targets = torch.randint(task.num_classes, shape[:2], generator=generator)
    else:  # within the target range of every loss
        targets = torch.rand(*shape[:2], task.num_targets, generator=generator).double()
        targets = targets * 0.9 + 0.05

    def computed(device):
        loss = stack(components, device)
        device_outputs_KBC = outputs_KBC.to(device, getattr(torch, dtype)).requires_grad_()
        device_targets = targets.to(device, None if task.classifies else device_outputs_KBC.dtype)
        loss_KB = loss(device_outputs_KBC, device_targets)
        gradient_KBC = torch.autograd.grad(loss_KB.sum(), device_outputs_KBC)[0]
        return (
            loss_KB,
            gradient_KBC,
            loss.predict(device_outputs_KBC),
            loss.decide(device_outputs_KBC),
        )

    results, references = computed(device_under_test), computed(REFERENCE)
    assert results[0].device.type == device_under_test
    for actual, expected in zip(results[:3], references[:3], strict=True):
        assert actual.dtype == getattr(torch, dtype)
        assert_close(actual, expected, ONE_CALL[dtype], name)
    assert_bits_equal(results[3], references[3])


@pytest.mark.parametrize("counter", [*COUNTERS, "by member"])
@pytest.mark.parametrize("size", [5, 41, 5000])
def test_random_numbers_are_bit_equal(size, counter, device_under_test):
    seeds = [0, 1, 2**32 - 1]

    def drawn(device):
        keys_K1 = randomness.keys(seeds, "order", device)
        index_N = torch.arange(size, device=device)
        counters_K1 = torch.tensor(COUNTERS, device=device).unsqueeze(1)
        counts = counters_K1 if counter == "by member" else counter
        yield randomness.bits(keys_K1, counts, index_N)
        yield randomness.ExampleOrder(keys_K1, counts, size).at(index_N)
        for dtype in DTYPES:
            yield randomness.uniforms(keys_K1, counts, index_N, getattr(torch, dtype))

    for actual, expected in zip(drawn(device_under_test), drawn(REFERENCE), strict=True):
        assert actual.device.type == device_under_test
        assert_bits_equal(actual, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rates", [(0.3, 0.3, 0.3), (0.0, 0.5, 0.9)], ids=["shared", "by member"])
def test_dropout_masks_are_bit_equal(rates, dtype, device_under_test):
    def masked(device):
        dropout = Dropout(randomness.keys([0, 1, 2], "dropout", device), 3)
        rates_K1 = torch.tensor(rates, dtype=torch.float64, device=device).unsqueeze(1)
        rate = rates[0] if len(set(rates)) == 1 else rates_K1
        ones_KBH = torch.ones(3, 40, 8, dtype=getattr(torch, dtype), device=device)
        for step in (1, 2, torch.tensor([[1], [5], [9]], device=device)):
            for layer in (0, 1):
                yield dropout(step, 0, ones_KBH, rate, layer)

    for actual, expected in zip(masked(device_under_test), masked(REFERENCE), strict=True):
        assert 0 < (actual == 0).sum() < actual.numel()
        assert_bits_equal(actual == 0, expected == 0)
        assert_close(actual, expected, ONE_CALL[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights_are_bit_equal(name, dtype, device_under_test):
    members = [
        dataclasses.replace(
            make_settings(initializer=INITIALIZERS[name](), hidden=(6, 5), dtype=dtype, epochs=1),
            seed=seed,
        )
        for seed in range(8)
    ]
    theta_KP = [
        build_population(prepare_members([dataclasses.replace(s, device=device) for s in members]))[
            0
        ].theta_KP
        for device in (device_under_test, REFERENCE)
    ]
    assert theta_KP[0].device.type == device_under_test
    assert_bits_equal(*theta_KP)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("name", STYLES)
def test_batches_are_bit_equal(name, shuffle, device_under_test):
    """Data, their order and the example weights, in every epoch and batch."""
    variants = [{}]
    if "drop_last" in field_names(STYLES[name]):
        variants = [{"batch_size": 7, "drop_last": drop_last} for drop_last in (False, True)]
    for fields in variants:
        members = [
            make_settings(seed=seed, training=name, shuffle=shuffle, epochs=3, **fields)
            for seed in range(3)
        ]

        def batches(device, members=members):
            settings = [dataclasses.replace(member, device=device) for member in members]
            population = build_population(prepare_members(settings))[0]
            return [batch for epoch in (1, 2) for batch in population.batches.epoch(epoch)]

        results, references = batches(device_under_test), batches(REFERENCE)
        assert len(results) == len(references)
        for actual, expected in zip(results, references, strict=True):
            assert actual[0].device.type == device_under_test
            assert_bits_equal(actual[0], expected[0])
            assert_bits_equal(actual[1], expected[1])


@pytest.mark.parametrize("num_classes", [2, 4])
def test_classification_metrics_are_equal(num_classes, device_under_test):
    generator = torch.Generator().manual_seed(3)
    scores_KNC = torch.randn(5, 300, num_classes, generator=generator, dtype=torch.float64)
    scores_KNC = (scores_KNC * 4).round() / 4  # with ties
    probabilities_KNC = scores_KNC.softmax(-1)
    targets_KN = torch.randint(num_classes, (5, 300), generator=generator)
    expected = metrics.final_classification_metrics(probabilities_KNC, targets_KN)
    actual = metrics.final_classification_metrics(
        probabilities_KNC.to(device_under_test), targets_KN.to(device_under_test)
    )
    assert actual.keys() == expected.keys()
    for name, values_K in expected.items():
        assert_close(actual[name], values_K, ONE_CALL["float64"], name)


def test_regression_metrics_are_equal(device_under_test):
    generator = torch.Generator().manual_seed(3)
    predicted_KNT, targets_KNT = torch.randn(2, 5, 300, 2, generator=generator).double()
    expected = metrics.final_regression_metrics(predicted_KNT, targets_KNT)
    actual = metrics.final_regression_metrics(
        predicted_KNT.to(device_under_test), targets_KNT.to(device_under_test)
    )
    for name, values_K in expected.items():
        assert_close(actual[name], values_K, 1e-12, name)
