"""training.monitor: any metric that is computed at the end of a run, and metrics of the user."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import mlplab
from mlplab import metrics
from mlplab.cli import main
from mlplab.config import settings_from_overrides
from mlplab.errors import ConfigError, IncompatibleSettingsError
from mlplab.training import train_population

QUICK = ["training.epochs=6", "device=cpu", "optimizer.lr=0.05"]
CASES = [
    *(("iris", name) for name in metrics.FINAL["classification"]),
    *(("diabetes", name) for name in metrics.FINAL["regression"]),
]


@pytest.fixture
def no_registered_metrics(monkeypatch):
    monkeypatch.setattr(metrics, "_registered", {})


@pytest.mark.parametrize(("dataset", "name"), CASES)
def test_the_weights_are_the_best_by_the_monitored_metric(dataset, name):
    [outcome] = train_population(
        [
            # in float32, the two engines round predictions differently, and torch measures the best
            settings_from_overrides(
                [*QUICK, f"dataset={dataset}", f"training.monitor={name}", "dtype=float64"]
            )
        ]
    )
    values = outcome.history[f"val/{name}"]
    best = values.argmax() if metrics.direction(name) == "max" else values.argmin()
    assert outcome.best_epoch == outcome.history["epoch"][best]
    for split in ("train", "val"):
        assert outcome.history[f"{split}/{name}"][best] == pytest.approx(
            outcome.metrics[f"{split}/{name}"], rel=1e-9
        )
    assert len(set(values)) > 1


def test_members_of_a_population_equal_their_single_runs():
    settings = [
        settings_from_overrides(
            [*QUICK, "dataset=friedman1", "training.monitor=mape", f"dataset.seed={seed}"]
        )
        for seed in range(3)
    ]
    for member, single in zip(
        train_population(settings), map(train_population, ([s] for s in settings)), strict=True
    ):
        assert member.best_epoch == single[0].best_epoch
        np.testing.assert_allclose(
            member.history["val/mape"], single[0].history["val/mape"], rtol=1e-6
        )


def test_only_a_monitored_metric_adds_columns():
    [plain] = train_population([settings_from_overrides([*QUICK, "dataset=iris"])])
    assert "val/f1" not in plain.history.names
    assert plain.history.names[:4] == ("train/loss", "train/accuracy", "val/loss", "val/accuracy")


def test_it_is_recorded(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = mlplab.run(
        [*QUICK, "dataset=iris", "training.monitor=auroc", "tracking=scalars"], tmp_path / "run"
    )
    assert "val/auroc" in (run.folder / "metrics.csv").read_text().splitlines()[0]
    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0})
    events.Reload()
    scalars = [event.value for event in events.Scalars("val/auroc")]
    np.testing.assert_allclose(scalars, run.history["val/auroc"], rtol=1e-6)
    np.testing.assert_array_equal(
        mlplab.load(run.folder).history["val/auroc"], run.history["val/auroc"]
    )
    longer = [*QUICK, "dataset=iris", "training.monitor=auroc", "training.epochs=9"]
    assert main(["resume", str(run.folder), "training.epochs=9"]) == 0
    undisturbed = mlplab.run([*longer, "tracking=summary"], tmp_path / "longer")
    np.testing.assert_array_equal(
        mlplab.load(run.folder).history["val/auroc"], undisturbed.history["val/auroc"]
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=iris", "training.monitor=aurok"], "Did you mean `auroc`"),
        (["dataset=iris", "training.monitor=r2"], "iris is a classification task"),
        (["dataset=diabetes", "training.monitor=f1"], "diabetes is a regression task"),
    ],
)
def test_other_names_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        settings_from_overrides(overrides)


def test_a_metric_that_does_not_fit_a_table_is_refused_before_training():
    x = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.raises(IncompatibleSettingsError, match="regression task, for which it is one of"):
        mlplab.fit(x, x[:, 0], ["training.monitor=f1"])
    with pytest.raises(ConfigError, match="Did you mean `brier`"):
        mlplab.fit(x, x[:, 0], ["training.monitor=briar"])
    assert not Path("outputs").exists()


@pytest.mark.usefixtures("no_registered_metrics")
def test_a_metric_of_the_user():
    @metrics.register("worst_recall", "max", "classification")
    def worst_recall(scores, y):
        return min((scores[y == c].argmax(1) == c).mean() for c in np.unique(y))

    @metrics.register("largest_error", "min", "regression")
    def largest_error(scores, y):
        return np.abs(scores - y).max()

    x = np.random.default_rng(0).normal(size=(90, 2))
    for y, name in ((np.arange(90) % 3, "worst_recall"), (100 * x[:, 0] + 500, "largest_error")):
        run = mlplab.fit(x, y, [*QUICK, "tracking=off", f"training.monitor={name}"])
        assert run.metrics[f"test/{name}"] >= 0
        values = run.history[f"val/{name}"]
        best = values.argmax() if metrics.direction(f"val/{name}") == "max" else values.argmin()
        assert run.summary["best_epoch"] == best
        assert run.metrics[f"val/{name}"] == pytest.approx(values[best])
    assert run.metrics["val/largest_error"] > 10  # in the units of the target


@pytest.mark.usefixtures("no_registered_metrics")
def test_invalid_metrics_are_refused():
    for name in ("f1", "auto", "val/mine"):
        with pytest.raises(ConfigError, match="needs another name"):
            metrics.register(name, "max", "classification")
    with pytest.raises(ConfigError, match="direction='max' or 'min'"):
        metrics.register("mine", "up", "classification")
    metrics.register("mine", "max", "regression")(lambda scores, y: 0.0)
    assert metrics.direction("val/mine") == "max"
    assert "mine" not in metrics.names_for("classification")
    nan = metrics.UserMetric(lambda scores, y: 1.0, "max", "regression").of_members(
        torch.tensor([[[1.0]], [[torch.nan]]]), torch.zeros(2, 1, 1)
    )
    assert nan[0] == 1
    assert nan[1].isnan()


@pytest.mark.usefixtures("no_registered_metrics")
def test_a_plugin_registers_a_metric():
    Path("mine.py").write_text(
        "from mlplab.metrics import register\n\n\n"
        "@register('hits', 'max', 'classification')\n"
        "def hits(scores, y):\n    return (scores.argmax(1) == y).sum()\n"
    )
    line = [*QUICK, "dataset=iris", "training.monitor=hits", "tracking=summary"]
    assert main(["train", "--plugin", "mine.py", *line, "hydra.run.dir=run"]) == 0
    history = mlplab.load("run").history
    np.testing.assert_allclose(history["val/hits"], history["val/accuracy"] * 30)
    assert main(["evaluate", "run", "--plugin", "mine.py"]) == 0
    evaluated = json.loads(Path("run/evaluation.json").read_text())["metrics"]
    assert evaluated["hits"]["value"] == pytest.approx(evaluated["accuracy"]["value"] * 30)
    assert evaluated["hits"]["low"] < evaluated["hits"]["value"]


@pytest.mark.usefixtures("no_registered_metrics")
def test_the_metric_of_the_readme():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    [code] = [block for block in blocks if "mlplab.metrics" in block]
    exec(compile(code, "README.md", "exec"), {})  # our own file
    line = [*QUICK, "dataset=diabetes", "training.monitor=worst_error"]
    [outcome] = train_population([settings_from_overrides(line)])
    assert outcome.metrics["val/worst_error"] == outcome.history["val/worst_error"].min()


def test_the_names_are_those_of_the_final_metrics():
    scores, labels = torch.tensor([[[0.2, 0.8], [0.7, 0.3]]]), torch.tensor([[1, 0]])
    assert (
        tuple(metrics.final_classification_metrics(scores, labels))
        == (metrics.FINAL["classification"])
    )
    assert tuple(metrics.final_regression_metrics(scores, scores)) == metrics.FINAL["regression"]
