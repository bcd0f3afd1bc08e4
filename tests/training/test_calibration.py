"""training.calibration: temperature scaling of the best weights on the val split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

import mlplab
from mlplab.config import settings_from_overrides
from mlplab.errors import IncompatibleSettingsError
from mlplab.losses import CrossEntropy
from mlplab.training import prepare_members, train_population
from mlplab.training.calibration import DEVIATION_ABOVE, fit_temperature

QUICK = ["training.epochs=8", "device=cpu", "optimizer.lr=0.05", "tracking=off"]


def logits_and_labels(n=600, temperature=2.5, seed=0):
    rng = np.random.default_rng(seed)
    z_NC = torch.tensor(rng.normal(size=(n, 3)) * 3)
    p_NC = (z_NC / temperature).softmax(-1).numpy()
    return z_NC, torch.tensor([rng.choice(3, p=p) for p in p_NC])


def test_the_temperature_minimizes_log_loss_and_prior():
    z_NC, y_N = logits_and_labels()

    def objective(log_t):
        loss = torch.nn.functional.cross_entropy(z_NC / np.exp(log_t), y_N, reduction="sum")
        return float(loss) + log_t**2 / (2 * DEVIATION_ABOVE**2)

    expected = minimize_scalar(objective, bounds=(-3, 3), method="bounded")
    fitted_log = np.log(fit_temperature(CrossEntropy(), z_NC, y_N))
    assert fitted_log == pytest.approx(expected.x, abs=1e-3)
    assert objective(fitted_log) <= expected.fun + 1e-6
    assert np.exp(fitted_log) == pytest.approx(2.5, rel=0.15)


def test_few_rows_leave_the_temperature_near_one():
    z_NC, y_N = logits_and_labels(n=4)
    assert 0.8 < fit_temperature(CrossEntropy(), z_NC, y_N) < 1.6
    right_N = z_NC.argmax(-1)
    assert 0.7 < fit_temperature(CrossEntropy(), z_NC, right_N) < 1
    assert fit_temperature(CrossEntropy(), z_NC[:0], y_N[:0]) == 1
    assert fit_temperature(CrossEntropy(), z_NC * torch.nan, y_N) == 1


def test_a_row_that_single_precision_clips_does_not_worsen_the_metric():
    z_NC = torch.tensor([[4.0, 0.0]] * 200 + [[30.0, 0.0]] * 2).double()
    y_N = torch.tensor([0] * 200 + [1] * 2)

    def clipped(temperature, eps):
        p_N = (z_NC / temperature).softmax(-1).gather(-1, y_N[:, None])
        return float(-p_N.clamp(min=eps).log().mean())

    eps = torch.finfo(torch.float32).eps
    temperature = fit_temperature(CrossEntropy(), z_NC, y_N, eps)
    assert clipped(temperature, eps) <= clipped(1.0, eps)
    unlimited = fit_temperature(CrossEntropy(), z_NC, y_N)
    assert unlimited > temperature


LOSSES = ["cross_entropy", "bce", "focal", "hinge", "tanh_half_mse"]


@pytest.mark.parametrize("loss", LOSSES)
def test_calibration_never_worsens_the_val_log_loss_and_keeps_the_classes(loss):
    base = [*QUICK, "dataset=moons", "dataset.noise=0.4", f"loss={loss}"]
    plain, scaled = (
        train_population([settings_from_overrides([*base, f"training.calibration={choice}"])])[0]
        for choice in ("none", "auto")
    )
    assert plain.temperature is None
    assert scaled.temperature > 0
    assert scaled.metrics["val/log_loss"] <= plain.metrics["val/log_loss"] + 1e-6
    for split in ("train", "val", "test"):
        for name in ("accuracy", "balanced_accuracy", "auroc"):
            key = f"{split}/{name}"
            assert scaled.metrics[key] == pytest.approx(plain.metrics[key], abs=1e-9)
    torch.testing.assert_close(scaled.last_theta_P, plain.last_theta_P, rtol=0, atol=0)


def test_the_output_layer_is_divided_by_the_temperature():
    base = [*QUICK, "dataset=iris", "dtype=float64"]
    plain = mlplab.run(base, quiet=True)
    scaled = mlplab.run([*base, "training.calibration=temperature"], quiet=True)
    temperature = scaled.summary["temperature"]
    x_NF = np.random.default_rng(0).normal(size=(50, 4)) * 3 + 3
    z_NC = plain.module()(torch.tensor(plain.preprocessing.features(x_NF))).detach()
    expected = (z_NC / temperature).softmax(-1).numpy()
    np.testing.assert_allclose(scaled.predict_proba(x_NF), expected, atol=1e-12)
    np.testing.assert_allclose(mlplab.load(scaled.folder).predict_proba(x_NF), expected, atol=1e-12)
    assert (scaled.predict(x_NF) == plain.predict(x_NF)).all()


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_a_member_of_a_population_has_the_weights_of_the_same_run_alone(engine):
    jobs = [
        settings_from_overrides(
            [
                *QUICK,
                "dataset=iris",
                f"engine={engine}",
                "training.calibration=auto",
                f"seed={seed}",
            ]
        )
        for seed in range(3)
    ]
    together = train_population(jobs)
    [alone] = train_population(jobs[1:2])
    assert together[1].temperature == pytest.approx(alone.temperature, rel=1e-6)
    if engine == "native":
        assert together[1].temperature == alone.temperature
        assert torch.equal(together[1].theta_P, alone.theta_P)


def test_values_have_no_temperature():
    base = [*QUICK, "dataset=diabetes"]
    [plain] = train_population([settings_from_overrides(base)])
    [auto] = train_population([settings_from_overrides([*base, "training.calibration=auto"])])
    assert auto.temperature is None
    assert torch.equal(auto.theta_P, plain.theta_P)
    with pytest.raises(IncompatibleSettingsError, match=r"values to predict.*calibration=auto"):
        prepare_members([settings_from_overrides([*base, "training.calibration=temperature"])])
    no_val = ["dataset=iris", "dataset.val=0", "training.calibration=temperature"]
    with pytest.raises(IncompatibleSettingsError, match="val split"):
        prepare_members([settings_from_overrides([*QUICK, *no_val])])
