"""`mlplab step`: the numbers of one update, beside training, autograd and the worked example.

Shapes: B examples of the batch.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from building import make_settings
from numpy.testing import assert_allclose

import mlplab
from mlplab.cli import main
from mlplab.config.builder import build
from mlplab.config.composition import compose
from mlplab.one_step.compute import one_step
from mlplab.one_step.text import document, folded, text_of
from mlplab.training import Session, prepare_members

WORKED = (
    *("dataset=boolean", "dataset.gate=or", "model.hidden=[2]", "activation=sigmoid", "loss=bce"),
    *("optimizer=sgd", "optimizer.lr=0.5", "training=batch", "dtype=float64", "initializer=given"),
    "initializer.weights=[[[.5,-.4],[.3,.8]],[[.7,-.6]]]",
    *("initializer.biases=[[.1,-.2],[.05]]", "--row", "1"),
)
"""x = (1, 0), y = 1, a network 2-2-1 of sigmoids."""
NUMBERS = """\
z1 = A1 x + b1 = (0.6000, 0.1000)
h1 = sigmoid(z1) = (0.6457, 0.5250)
z2 = A2 h1 + b2 = 0.1870
p = sigmoid(z2) = 0.5466
e = -log p = 0.6040
de/dp = -1 / p = -1.8295
dp/dz2 = p (1 - p) = 0.2478
de/dz2 = de/dp dp/dz2 = -0.4534
de/dA2 = de/dz2 h1^T = [[-0.2927, -0.2380]]
de/db2 = de/dz2 = -0.4534
de/dh1 = A2^T de/dz2 = (-0.3174, 0.2720)
dh1/dz1 = sigmoid'(z1) = (0.2288, 0.2494)
de/dz1 = de/dh1 * dh1/dz1 = (-0.0726, 0.0678)
de/dA1 = de/dz1 x^T = [[-0.0726, 0], [0.0678, 0]]
A1 new = A1 - lr de/dA1 = [[0.5363, -0.4000], [0.2661, 0.8000]]
b1 new = b1 - lr de/db1 = (0.1363, -0.2339)
A2 new = A2 - lr de/dA2 = [[0.8464, -0.4810]]
b2 new = b2 - lr de/db2 = 0.2767
p = sigmoid(z2) = 0.6440
e = -log p = 0.4401 was 0.6040
= -0.072610; backward gave -0.072610"""
"""What a student computes by hand."""
DATASETS = ("two_layer_radial", "three_classes", "boolean", "quadratic", "sine", "xor")
ACTIVATIONS = ("tanh", "sigmoid", "softplus", "gelu", "silu", "softsign", "leaky_relu", "elu")
OPTIMIZERS = ("sgd", "momentum", "nag", "adagrad", "rmsprop", "adam", "adamw", "nadam", "rprop")


def test_the_worked_example(capsys):
    assert main(["step", *WORKED]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for line in NUMBERS.splitlines():
        assert line in text


def _random_settings(seed):
    draw = random.Random(seed)
    return make_settings(
        seed,
        draw.choice(DATASETS),
        [draw.randint(1, 7) for _ in range(draw.randint(0, 4))],
        draw.choice(ACTIVATIONS),
        draw.choice(("xavier_uniform", "he_normal")),
        training=draw.choice(("batch", "minibatch")),
        optimizer=draw.choice(OPTIMIZERS),
    ), draw


@pytest.mark.parametrize("seed", range(50))
def test_derivatives_of_random_structures(seed):
    """Those of the layers agree with autograd on plain tensors, and with the formulas beside."""
    settings, draw = _random_settings(seed)
    rows = draw.choice((None, [0], [3], [0, 2, 3]))
    step = one_step(settings, 1, rows)
    h, kept = torch.from_numpy(step.x), []
    for layer in step.layers:
        leaves = {
            name: torch.from_numpy(p.before).requires_grad_()
            for name, p in layer.parameters.items()
        }
        z = h @ leaves["weight"].T + leaves["bias"]
        h = z if layer.activation is None else layer.activation(z.unsqueeze(0))[0]
        z.retain_grad()
        h.retain_grad()
        kept.append((z, h, leaves))
    targets = torch.from_numpy(step.y).unsqueeze(0)
    loss_B = step.settings.loss(h.unsqueeze(0), targets)[0]
    loss_B.mean().backward()
    assert_allclose(step.losses, loss_B.detach().numpy(), rtol=0, atol=1e-12)
    for layer, (z, h, leaves) in zip(step.layers, kept, strict=True):
        assert_allclose(layer.dz, z.grad, rtol=0, atol=1e-10)
        if layer.dh is not None and layer.slope is not None:
            assert_allclose(layer.dh, h.grad, rtol=0, atol=1e-10)
            assert_allclose(layer.dz, layer.dh * layer.slope, rtol=0, atol=1e-12)
        for name, leaf in leaves.items():
            if not step.ahead:
                assert_allclose(layer.parameters[name].gradient, leaf.grad, rtol=0, atol=1e-10)
        gradient = layer.parameters["weight"].gradient
        assert_allclose(gradient, layer.dz.T @ layer.x, rtol=0, atol=1e-12)
    assert abs(step.check.quotient - step.check.derivative) < 1e-7


@pytest.mark.parametrize("embedding", ["pbld", "plr", "periodic", "none"])
def test_an_embedding_is_shown_as_layers_that_read_all_inputs(embedding):
    lines = ["dataset=iris", f"embedding={embedding}", "embedding.scale_lr_factor=2"]
    lines += ["model.hidden=[3]", "optimizer=sgd", "dtype=float64"]
    settings = build(compose(lines))
    step = one_step(settings, 2, [0, 3])
    h = step.x
    for layer in step.layers:
        bias = layer.parameters.get("bias")
        z = h @ layer.parameters["weight"].before.T + (0 if bias is None else bias.before)
        assert_allclose(layer.z, z, rtol=0, atol=1e-12)
        assert_allclose(layer.dz, layer.dz if layer.dh is None else layer.dh * layer.slope)
        weight = layer.parameters["weight"]
        dense = layer.dz.T @ layer.x
        assert_allclose(weight.gradient, np.where(weight.gradient == 0, 0, dense), atol=1e-12)
        h = layer.h
    assert abs(step.check.quotient - step.check.derivative) < 1e-7
    assert "the embedding: a unit that copies" in text_of(step)
    assert json.dumps(document(step), allow_nan=False)


def _trained(settings, last_step):
    member = prepare_members([settings])[0]
    session = Session.of([member])
    session.run()
    assert session.groups[0].stepper.step == last_step
    return session.groups[0].population.theta_KP[0]


@pytest.mark.parametrize("optimizer", ["sgd", "nag", "adam", "adagrad"])
@pytest.mark.parametrize("number", [1, 9])
def test_the_update_is_that_of_the_training_bit_for_bit(optimizer, number):
    """With penalties, clipping and dropout, in float32."""
    options = {"l1": 0.001, "l2": 0.01, "clip_norm": 0.3, "steps": 12}
    settings = make_settings(
        3, optimizer=optimizer, dtype="float32", layer={"dropout": 0.2}, **options
    )
    computed = one_step(settings, number, None)
    stopped = make_settings(
        3,
        optimizer=optimizer,
        dtype="float32",
        layer={"dropout": 0.2},
        **(options | {"steps": number}),
    )
    assert torch.equal(computed.theta, _trained(stopped, number))


def test_dropout_can_be_left_out():
    settings = make_settings(layer={"dropout": 0.5})
    assert one_step(settings, 1, [0]).layers[0].drop.max() == 2
    assert one_step(settings, 1, [0], dropout=False).layers[0].drop is None


@pytest.mark.parametrize("normalization", ["layer", "batch"])
def test_a_normalization_and_a_learned_slope(normalization):
    settings = make_settings(activation="prelu", layer={"normalization": normalization})
    step = one_step(settings, 2, [0, 1, 2])
    assert set(step.layers[0].parameters) == {
        *("weight", "bias", "norm_scale"),
        "norm_shift",
        "slopes",
    }
    assert abs(step.check.quotient - step.check.derivative) < 1e-7
    assert f"{normalization}_norm(A1 x + b1)" in text_of(step)


def test_a_run_continues_from_its_checkpoint(capsys):
    small = ["experiment=xor_mlp", "tracking=summary", "dataset.num_samples=60", "engine=eager"]
    run = mlplab.run([*small, "training.epochs=3"], Path("run"))
    (last, *_) = sorted(Path("run/checkpoints").glob("state-*.json"))
    assert main(["step", "run", "--step", "6", "--batch", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["format"] == "mlplab-step-1"
    new = {line["symbol"]: line["value"] for line in shown["lines"]}
    module = run.module()
    if run.summary["best_epoch"] == 3:
        assert_allclose(new["A1 new"], module[0].weight.detach().numpy(), rtol=0, atol=0)
    assert last.exists()


def test_json_has_all_numbers():
    step = one_step(make_settings(hidden=(20,)), 1, [0, 1])
    values = {line["symbol"]: line["value"] for line in document(step)["lines"]}
    assert np.shape(values["A1"]) == (20, 2)
    assert json.dumps(document(step), allow_nan=False)


def test_a_training_that_diverges(capsys):
    """No number that is not finite is an answer: an update too large is null in JSON."""
    wild = ["dataset=quadratic", "activation=relu", "optimizer=sgd", "optimizer.lr=1e200"]
    assert main(["step", *wild, "training.clip_norm=1", "--json", "dtype=float64"]) == 0
    assert json.loads(capsys.readouterr().out)["objective_again"] is None
    assert main(["step", *wild, "dtype=float64", "--step", "5"]) == 2
    assert "diverged" in capsys.readouterr().err


def test_long_layers_are_folded():
    assert folded(8) == list(range(8))
    assert folded(9) == [0, 1, 2, None, 7, 8]
    text = text_of(one_step(make_settings(hidden=(40,)), 1, [0]))
    assert "40 numbers, norm" in text
    assert max(map(len, text.splitlines())) < 200


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--row", "4"], "rows 0 to 3"),
        (["--row", "0", "--batch"], "choose one"),
        (["--rows", "a"], "0-9"),
        (["--step", "0"], "updates 1 to 100"),
        (["--step", "101"], "updates 1 to 100"),
        (["-o", "a.pdf"], r".svg, .png, .html"),
        (["nowhere"], "nowhere is not a folder"),
        (["one", "two"], "one run, not 2"),
    ],
)
def test_what_is_refused(arguments, reason, capsys):
    assert main(["step", "dataset=boolean", "training=batch", *arguments]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (3, 3), (2, 2)])
def test_weights_stand_beside_each_other(shape):
    """As each line is labeled in turn; a label is 0.6 inches high with its derivative."""
    diagram = pytest.importorskip("mlplab.one_step.diagram")
    taken = []
    for j in range(shape[0]):
        for k in range(shape[1]):
            start, end = (
                diagram._position(diagram._Column(i, tuple(range(n)), n), i, unit)
                for i, (n, unit) in enumerate(zip(shape, (j, k), strict=True))
            )
            order = diagram._shares(j, shape[0])
            taken.append(diagram._free_center(start, end, order, taken))
    distances = np.abs(
        np.subtract(*np.array(list(itertools.combinations(taken, 2))).swapaxes(0, 1))
    )
    assert ((distances[:, 0] > 0.6) | (distances[:, 1] > 0.5)).all()


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.html"])
def test_figures(name, capsys):
    pytest.importorskip("matplotlib")
    assert main(["step", *WORKED, "-o", name]) == 0
    assert capsys.readouterr().out.rstrip().endswith(name)
    if name == "a.png":
        return
    text = Path(name).read_text(encoding="utf-8")
    assert text.count("<svg") == (6 if name == "a.html" else 1)
    assert "0.646" in text
    assert "∂e/∂z -0.073" in text
