"""Links of the TensorFlow Playground: read, written, and trained like the Playground trains."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from harness import size
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplab.cli import main
from mlplab.config import settings_from_overrides
from mlplab.config.composer import Composer
from mlplab.config.playground_link import ADDRESS, read_link, write_link
from mlplab.errors import ConfigError
from mlplab.training import build_population, prepare_members, train_population

RATES = ("0.00001", "0.0001", "0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1", "3", "10")
INPUTS = ("x", "y", "xTimesY", "xSquared", "ySquared", "sinX", "sinY")
PROPERTIES = [
    "activation",
    "regularization",
    "batchSize",
    "dataset",
    "regDataset",
    "learningRate",
    "regularizationRate",
    "noise",
    "networkShape",
    "seed",
    "showTestData",
    "discretize",
    "percTrainData",
    "x",
    "y",
    "xTimesY",
    "xSquared",
    "ySquared",
    "cosX",
    "sinX",
    "cosY",
    "sinY",
    "collectStats",
    "problem",
    "initZero",
    "hideText",
]


def random_link(seed):
    """Settings of a link that its controls offer, without those that have no counterpart."""
    rng = np.random.default_rng(seed)
    regression, regularization = rng.random() < 0.4, str(rng.choice(["none", "L1", "L2"]))
    values = {
        "activation": rng.choice(["relu", "tanh", "sigmoid", "linear"]),
        "regularization": regularization,
        "batchSize": rng.integers(1, 31),
        "dataset": "circle" if regression else rng.choice(["circle", "xor", "gauss", "spiral"]),
        "regDataset": rng.choice(["reg-plane", "reg-gauss"]) if regression else "reg-plane",
        "learningRate": rng.choice(RATES),
        "regularizationRate": "0"
        if regularization == "none"
        else rng.choice(["0.001", "0.003", "0.01", "0.03", "0.1"]),
        "noise": rng.integers(0, 11) * 5,
        "networkShape": ",".join(map(str, rng.integers(1, 9, rng.integers(0, 5)))),
        "seed": f"0.{rng.integers(0, 100_000):05d}",
        "percTrainData": rng.integers(1, 10) * 10,
        **{name: str(rng.random() < 0.5).lower() for name in INPUTS},
        "problem": "regression" if regression else "classification",
        "initZero": str(rng.random() < 0.1).lower(),
    }
    values["x"] = "true" if all(values[name] == "false" for name in INPUTS) else values["x"]
    return written(values)


def written(values):
    pairs = (f"{key}={values.get(key, 'false')}" for key in PROPERTIES)
    return f"{ADDRESS}#" + "&".join(pair for pair in pairs if pair != "regularization=none")


LINKS = st.integers(0, 10**9).map(random_link)
WIDTHS = st.lists(st.integers(1, 8), max_size=6)


def config_of(overrides):
    return Composer(overrides).compose_run().config


@pytest.mark.campaign("fuzz", small=True)
@settings(max_examples=size(12, 300), deadline=None)
@given(LINKS)
def test_a_link_comes_back_from_its_configuration(link):
    read = read_link(link)
    assert read.left_out == ()
    assert write_link(config_of(read.overrides)) == (link, "")


@pytest.mark.campaign("fuzz", small=True)
@settings(max_examples=size(6, 150), deadline=None)
@given(LINKS, st.sampled_from(["0.02", "0.125", "1e-05"]), st.integers(1, 200), WIDTHS)
def test_a_configuration_comes_back_from_its_link(link, rate, batch, widths):
    written = "-".join(map(str, widths)) or "[]"
    changes = [
        f"optimizer.lr={rate}",
        f"training.batch_size={batch}",
        f"model.hidden={written}",
        "seed=123456789",
    ]
    config = config_of(read_link(link).with_changes(changes))
    other, reason = write_link(config)
    assert reason == ""
    again = config_of(read_link(other).overrides)
    config["model"]["hidden"] = widths
    assert again == config


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["optimizer=adam"], "optimizer is adam, and the Playground has sgd"),
        (["optimizer.momentum=0.9"], "optimizer.momentum is 0.9"),
        (["model.dropout=0.1"], "model.dropout is 0.1"),
        (["dataset.features=[x1,x2_cubed]"], "dataset.features is"),
        (["training.l1=0.1", "training.l2=0.1"], "training.l1 is 0.1"),
        (["dataset.num_samples=100"], "dataset.num_samples is 100"),
        (["activation=gelu", "loss=bce"], "activation is gelu"),
        (["model.hidden=[{units: 4, activation: relu}]"], "model.hidden is"),
    ],
)
def test_what_the_playground_lacks_is_said_in_a_sentence(changes, reason):
    link, sentence = write_link(
        config_of(read_link(f"{ADDRESS}#dataset=xor").with_changes(changes))
    )
    assert link is None
    assert sentence.startswith("The Playground has no such network: ")
    assert reason in sentence
    assert sentence.count(".  ") == 0


def test_the_duration_of_the_training_is_free():
    read = read_link(f"{ADDRESS}#dataset=spiral")
    assert write_link(config_of(read.with_changes(["training.epochs=7", "dtype=float64"])))[0]


def test_what_has_no_counterpart_is_listed():
    read = read_link(
        f"{ADDRESS}#collectStats=true&hideText=true&discretize=true&cosX=true&playButton_hide=true"
        "&learnRate=3&tutorial=abc&seed=abc&batchSize=30&regularization=L1&regularizationRate=0.1"
    )
    assert [entry.split(" ")[0] for entry in read.left_out] == [
        *("collectStats", "hideText", "discretize", "cosX", "playButton_hide", "learnRate"),
        "tutorial",
    ]
    assert "learningRate" in read.left_out[5]
    differences = " ".join(read.differences)
    assert all(
        text in differences for text in ("other points", "across 0", "last 10 of 250", "'abc'")
    )


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("https://example.org/#dataset=xor", "is not a link"),
        (ADDRESS, "is not a link"),
        (f"{ADDRESS}#dataset=circel", "Did you mean `circle`?"),
        (f"{ADDRESS}#batchSize=0", "takes a whole number, 1 to"),
        (f"{ADDRESS}#learningRate=nan", "learningRate=nan; it takes a number"),
        (f"{ADDRESS}#noise=80", "noise=80; it takes a number, 0 to 50"),
        (f"{ADDRESS}#percTrainData=100", "1 to 99"),
        (f"{ADDRESS}#networkShape=4,0", "networkShape=4,0"),
        (f"{ADDRESS}#x=false&y=false", "selects no input"),
        (f"{ADDRESS}#seed={'0' * 20000}", "characters"),
    ],
)
def test_a_wrong_link_is_refused(link, message):
    with pytest.raises(ConfigError) as refusal:
        read_link(link)
    assert message in str(refusal.value)


def test_the_command_trains_a_link(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    link = f"{ADDRESS}#dataset=xor&xTimesY=true&discretize=true&networkShape=3"
    run = ["tracking=summary", "training.epochs=2", "hydra.run.dir=run", "optimizer.lr=0.1"]
    assert main(["train", "--from-link", link, *run]) == 0
    notes = capsys.readouterr().err
    assert "'dataset.features=[x1,x2,x1_x2]'" in notes
    assert "optimizer.lr=0.1" in notes
    assert "optimizer.lr=0.03" not in notes
    assert "discretize" in notes
    assert main(["train", "--from-link", "nonsense"]) == 2
    for command in ("plan", "list"):
        assert main([command, "--from-link", link]) == 2


# Training


class PlaygroundNetwork:
    """The Playground's network (src/nn.ts) in NumPy: its update rule with everything it does, such
    as weights that L1 fixes at 0 and gradients that an epoch leaves to the next.
    """

    def __init__(self, weights, biases, activation, tanh_output):
        self.weights, self.biases = [w.copy() for w in weights], [b.copy() for b in biases]
        self.activation, self.tanh_output = activation, tanh_output
        self.dead = [np.zeros_like(w, dtype=bool) for w in weights]
        self.pending = []  # examples since the last update

    def _activate(self, z, layer):
        last = layer == len(self.weights) - 1
        name = ("tanh" if self.tanh_output else "linear") if last else self.activation
        if name == "tanh":
            h = np.tanh(z)
            return h, 1 - h * h
        if name == "sigmoid":
            h = 1 / (1 + np.exp(-z))
            return h, h * (1 - h)
        return (np.maximum(z, 0), (z > 0) * 1.0) if name == "relu" else (z, np.ones_like(z))

    def forward(self, x):
        layers, slopes = [x], []
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            h, slope = self._activate(layers[-1] @ w + b, i)
            layers.append(h)
            slopes.append(slope)
        return layers, slopes

    def loss(self, x, y):
        return float(np.mean(0.5 * (self.forward(x)[0][-1][:, 0] - y) ** 2))

    def epoch(self, x, y, batch, rate, penalty, penalty_rate):
        for start in range(0, len(x), batch):
            self.pending.append((x[start : start + batch], y[start : start + batch]))
            if len(self.pending[-1][0]) == batch:
                self._update(rate, penalty, penalty_rate)

    def _update(self, rate, penalty, penalty_rate):
        x, y = (np.concatenate(rows) for rows in zip(*self.pending, strict=True))
        self.pending = []
        layers, slopes = self.forward(x)
        error = (layers[-1] - y[:, None]) * slopes[-1]
        for i in reversed(range(len(self.weights))):
            before = (error @ self.weights[i].T) * slopes[i - 1] if i else None
            w, moved = self.weights[i], self.weights[i] - rate * layers[i].T @ error / len(x)
            slope = np.sign(w) if penalty == "l1" else w if penalty == "l2" else np.zeros_like(w)
            new = moved - rate * penalty_rate * slope
            if penalty == "l1":
                self.dead[i] |= moved * new < 0
            self.weights[i] = np.where(self.dead[i], 0.0, new)
            self.biases[i] = self.biases[i] - rate * error.mean(0)
            error = before


def inputs_of(names, x):
    computed = {
        "x1": x[:, 0],
        "x2": x[:, 1],
        "x1_squared": x[:, 0] ** 2,
        "x2_squared": x[:, 1] ** 2,
        "x1_x2": x[:, 0] * x[:, 1],
        "sin_x1": np.sin(x[:, 0]),
        "sin_x2": np.sin(x[:, 1]),
    }
    return np.stack([computed[name] for name in names], 1)


def losses_of_both(link, epochs):
    """The train losses of mlplab and of the Playground's update, from the same weights and data, up
    to the first weight that L1 fixes at 0.
    """
    run = settings_from_overrides(
        [*read_link(link).overrides, f"training.epochs={epochs}", "dtype=float64"]
    )
    member = prepare_members([run])[0]
    population, _ = build_population([member])
    layout = population.network.layout
    views = layout.layers(layout.split(population.theta_KP.detach().clone()))
    tanh_output = run.dataset.task_kind == "classification"
    network = PlaygroundNetwork(
        [v.weight[0].numpy() for v in views],
        [v.bias[0, 0].numpy() for v in views],
        "linear" if len(views) == 1 or (name := run.choice("activation")) == "identity" else name,
        tanh_output,
    )
    train = member.prepared.train
    columns = train.x if train.columns is None else train.columns
    x = inputs_of(run.dataset.features or ("x1", "x2"), columns)
    y = train.y * 2.0 - 1 if tanh_output else train.y[:, 0]
    penalty = "l1" if run.training.l1 else "l2" if run.training.l2 else "none"
    rate = float(run.training.l1 or run.training.l2)
    expected = [network.loss(x, y)]
    for _ in range(epochs):
        network.epoch(x, y, run.training.batch_size, run.optimizer.lr, penalty, rate)
        if any(dead.any() for dead in network.dead) or not network.loss(x, y) < 1e3:
            break
        expected.append(network.loss(x, y))
    outcome = train_population([dataclasses.replace(run, engine="eager")])[0]
    return outcome.history["train/loss"][: len(expected)], expected


def trainable_links(count, seed):
    """Random links whose batches divide the train split, and whose steps are not too large."""
    rng = np.random.default_rng(seed)
    links = []
    while len(links) < count:
        values = dict(
            pair.split("=") for pair in random_link(rng.integers(1 << 31)).split("#")[1].split("&")
        )
        values.setdefault("regularization", "none")
        regression = values["problem"] == "regression"
        values["learningRate"] = rng.choice(
            ["0.0001", "0.0003", "0.001"] if regression else ["0.001", "0.003", "0.01"]
        )
        rows = (12 if regression else 5) * int(values["percTrainData"])
        if rows % int(values["batchSize"]) == 0:
            links.append(written(values))
    return links


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("link", trainable_links(size(5, 20), 1))
def test_a_link_trains_as_the_playground_does(link):
    trained, expected = losses_of_both(link, epochs=size(5, 100))
    np.testing.assert_allclose(trained, expected, rtol=1e-9, atol=1e-9)
    assert len(expected) > 1 or "regularization=L1" in link
