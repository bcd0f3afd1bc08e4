"""Every metric compared with scikit-learn, member by member.

Shapes: K members, N examples, C classes, T targets.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from harness import size
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from mlplab.metrics import (
    HIGHER_IS_BETTER,
    classification_metrics,
    direction,
    final_classification_metrics,
    final_metric,
    final_regression_metrics,
    regression_metrics,
    total_squares,
)


def scikit_learn_metrics(probabilities_NC: Tensor, targets_N: Tensor) -> dict[str, float]:
    p, y = probabilities_NC.numpy(), targets_N.numpy()
    num_classes = p.shape[1]
    labels, guess = np.arange(num_classes), p.argmax(1)
    one_hot = np.eye(num_classes, dtype=int)[y]
    scores = (y == 1, p[:, 1]) if num_classes == 2 else (one_hot, p)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class absent from targets or predictions
        return {
            "accuracy": sk.accuracy_score(y, guess),
            "balanced_accuracy": sk.balanced_accuracy_score(y, guess),
            "f1": sk.f1_score(y, guess, average="macro", zero_division=0),
            "mcc": sk.matthews_corrcoef(y, guess),
            "auroc": sk.roc_auc_score(*scores, average="macro"),
            "average_precision": sk.average_precision_score(*scores, average="macro"),
            "log_loss": sk.log_loss(y, p, labels=labels),
            "brier": sk.brier_score_loss(y, p, labels=labels),
        }


def draw(
    num_examples: int,
    num_classes: int,
    seed: int,
    *,
    digits: int | None = None,
    rare: bool = False,
    skill: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Draw three members; `digits` rounds logits to make ties, `rare` makes class 0 frequent."""
    random = np.random.default_rng(seed)
    weights = np.r_[10.0 if rare else 1.0, np.ones(num_classes - 1)]
    targets_KN = random.choice(num_classes, (3, num_examples), p=weights / weights.sum())
    logits_KNC = (
        random.normal(size=(3, num_examples, num_classes)) + skill * np.eye(num_classes)[targets_KN]
    )
    logits_KNC = logits_KNC if digits is None else logits_KNC.round(digits)
    return torch.from_numpy(logits_KNC).softmax(-1), torch.from_numpy(targets_KN)


def check(probabilities_KNC: Tensor, targets_KN: Tensor, tolerance: float) -> None:
    ours = final_classification_metrics(probabilities_KNC, targets_KN)
    for k in range(len(targets_KN)):
        theirs = scikit_learn_metrics(probabilities_KNC[k], targets_KN[k])
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            assert ours[name].shape == (len(targets_KN),)
            assert ours[name].dtype == torch.float64
            assert ours[name][k].item() == pytest.approx(
                value, rel=tolerance, abs=tolerance, nan_ok=True
            ), name
    cheap = classification_metrics(probabilities_KNC, targets_KN)
    assert torch.equal(cheap["accuracy"], ours["accuracy"])


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("rare", [False, True])
def test_classification_is_scikit_learns(num_classes: int, digits: int | None, rare: bool) -> None:
    probabilities_KNC, targets_KN = draw(
        200, num_classes, seed=num_classes, digits=digits, rare=rare
    )
    check(probabilities_KNC, targets_KN, 1e-10)
    check(probabilities_KNC.float(), targets_KN, 1e-6)


@pytest.mark.campaign("fuzz", small=True)
@settings(max_examples=size(15, 60), deadline=None, derandomize=True)
@given(
    num_examples=st.integers(2, 30),
    num_classes=st.integers(2, 5),
    seed=st.integers(0, 10**6),
    digits=st.sampled_from([0, 1, None]),
)
def test_small_splits_with_ties_and_absent_classes(
    num_examples: int, num_classes: int, seed: int, digits: int | None
) -> None:
    check(*draw(num_examples, num_classes, seed, digits=digits, rare=True), 1e-10)


def test_extreme_predictions() -> None:
    targets_KN = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]])
    right = torch.nn.functional.one_hot(targets_KN[0], 2).double()
    probabilities_KNC = torch.stack((right, 1 - right, torch.full_like(right, 0.5)))
    check(probabilities_KNC, targets_KN, 1e-10)
    metrics = final_classification_metrics(probabilities_KNC, targets_KN)
    assert metrics["auroc"].tolist() == [1.0, 0.0, 0.5]
    assert metrics["average_precision"].tolist()[::2] == [1.0, 0.5]
    assert metrics["brier"].tolist() == [0.0, 1.0, 0.25]
    assert metrics["mcc"].tolist() == [1.0, -1.0, 0.0]


def test_auroc_of_ties_counts_pairs() -> None:
    probabilities_KNC, targets_KN = draw(60, 2, seed=5, digits=0)
    for k in range(3):
        scores, positive = probabilities_KNC[k, :, 1], targets_KN[k] == 1
        difference = scores[positive][:, None] - scores[~positive][None, :]
        assert (difference == 0).any()
        pairs = ((difference > 0).double() + 0.5 * (difference == 0).double()).mean()
        assert_close(
            final_classification_metrics(probabilities_KNC, targets_KN)["auroc"][k],
            pairs,
            rtol=0,
            atol=1e-14,
        )


def test_a_class_is_absent() -> None:
    probabilities_KNC, _ = draw(20, 3, seed=0)
    targets_KN = torch.arange(20).remainder(2).repeat(3, 1)
    metrics = final_classification_metrics(probabilities_KNC, targets_KN)
    assert metrics.pop("auroc").isnan().all()
    assert all(metric_K.isfinite().all() for metric_K in metrics.values())
    check(probabilities_KNC, targets_KN, 1e-10)


def test_chunks_change_nothing() -> None:
    probabilities_KNC, targets_KN = draw(50, 4, seed=1)
    whole = final_classification_metrics(probabilities_KNC, targets_KN)
    for max_entries in (1, 2 * 50 * 4):
        chunks = final_classification_metrics(probabilities_KNC, targets_KN, max_entries)
        assert all(torch.equal(whole[name], chunks[name]) for name in whole)


def test_one_metric_is_that_of_all() -> None:
    probabilities_KNC, targets_KN = draw(50, 4, seed=1)
    values_KNT = probabilities_KNC[..., :2]
    for task, all_metrics, scores, targets in (
        ("classification", final_classification_metrics, probabilities_KNC, targets_KN),
        ("regression", final_regression_metrics, values_KNT, values_KNT.flip(1)),
    ):
        for name, metric_K in all_metrics(scores, targets).items():
            assert torch.equal(final_metric(name, task, scores, targets), metric_K)


@pytest.mark.parametrize("metrics", [classification_metrics, final_classification_metrics])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_members_are_measured_independently(
    metrics: Callable[[Tensor, Tensor], dict[str, Tensor]], num_classes: int
) -> None:
    probabilities_KNC, targets_KN = draw(40, num_classes, seed=2)
    batched = metrics(probabilities_KNC, targets_KN)
    for k in range(3):
        single = metrics(probabilities_KNC[k : k + 1], targets_KN[k : k + 1])
        for name, metric_K in batched.items():
            assert_close(metric_K[k : k + 1], single[name], rtol=1e-14, atol=0)
    probabilities_KNC[1, 7, 0] = math.nan
    broken = metrics(probabilities_KNC, targets_KN)
    for name, metric_K in batched.items():
        assert broken[name][1].isnan()
        assert torch.equal(broken[name][::2], metric_K[::2])


def test_targets_may_be_one_row_for_all_members() -> None:
    probabilities_KNC, targets_KN = draw(30, 3, seed=3)
    shared_KN = targets_KN[:1].expand(3, -1)
    ours = final_classification_metrics(probabilities_KNC, shared_KN)
    copied = final_classification_metrics(probabilities_KNC, shared_KN.clone())
    assert all(torch.equal(ours[name], copied[name]) for name in ours)


def values(num_targets: int, seed: int, num_examples: int = 80) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(seed)
    targets_KNT = (
        random.normal(3.0, 2.0, (3, num_examples, num_targets))
        * np.array([1.0, 10.0, 0.1])[:num_targets]
    )
    predictions_KNT = targets_KNT + random.normal(0.0, 1.0, targets_KNT.shape)
    return torch.from_numpy(predictions_KNT), torch.from_numpy(targets_KNT)


@pytest.mark.parametrize("num_targets", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_regression_is_scikit_learns(
    num_targets: int, dtype: torch.dtype, tolerance: float
) -> None:
    predictions_KNT, targets_KNT = (
        tensor.to(dtype) for tensor in values(num_targets, seed=num_targets)
    )
    metrics = final_regression_metrics(predictions_KNT, targets_KNT)
    for k in range(3):
        f, y = predictions_KNT[k].numpy(), targets_KNT[k].numpy()
        theirs = {
            "mae": sk.mean_absolute_error(y, f),
            "rmse": sk.root_mean_squared_error(y, f),
            "r2": sk.r2_score(y, f),
            "mape": sk.mean_absolute_percentage_error(y, f),
        }
        assert set(metrics) == set(theirs)
        for name, value in theirs.items():
            assert metrics[name].dtype == torch.float64
            assert metrics[name][k].item() == pytest.approx(value, rel=tolerance, abs=tolerance), (
                name
            )
    cheap = regression_metrics(predictions_KNT, targets_KNT, total_squares(targets_KNT))
    assert set(cheap) == {"mae", "rmse", "r2"}
    assert all(torch.equal(cheap[name], metrics[name]) for name in cheap)


def test_float32_far_from_zero_keeps_its_digits() -> None:
    predictions_KNT, targets_KNT = (tensor.float() + 1e4 for tensor in values(1, seed=4))
    ours = regression_metrics(predictions_KNT, targets_KNT)
    exact = regression_metrics(predictions_KNT.double(), targets_KNT.double())
    assert all(torch.equal(ours[name], exact[name]) for name in exact)


def test_constant_and_single_targets() -> None:
    constant_KNT = torch.full((2, 5, 1), 2.0, dtype=torch.float64)
    predictions_KNT = constant_KNT.clone()
    predictions_KNT[1, 0] += 1
    assert regression_metrics(predictions_KNT, constant_KNT)["r2"].tolist() == [1.0, 0.0]
    assert [sk.r2_score(constant_KNT[k], predictions_KNT[k]) for k in range(2)] == [1.0, 0.0]
    tenths_KNT = torch.full_like(constant_KNT, 0.1)  # their mean is not 0.1
    everything_KN = torch.ones(2, 5, dtype=torch.bool)
    for mask_KN in (None, everything_KN):
        r2_K = regression_metrics(predictions_KNT, tenths_KNT, mask_KN=mask_KN)["r2"]
        assert r2_K.tolist() == [0.0, 0.0]
        assert regression_metrics(tenths_KNT, tenths_KNT, mask_KN=mask_KN)["r2"].tolist() == [1, 1]
    single = regression_metrics(predictions_KNT[:, :1], constant_KNT[:, :1])
    assert single["r2"].isnan().all()
    assert single["mae"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_broken_member_leaves_the_others(poison: float) -> None:
    predictions_KNT, targets_KNT = values(2, seed=6)
    sound = final_regression_metrics(predictions_KNT, targets_KNT)
    predictions_KNT[1, 3, 0] = poison
    broken = final_regression_metrics(predictions_KNT, targets_KNT)
    for name, metric_K in sound.items():
        assert not broken[name][1].isfinite()
        assert torch.equal(broken[name][::2], metric_K[::2])
    constant_KNT = torch.ones_like(targets_KNT)
    assert regression_metrics(predictions_KNT, constant_KNT)["r2"][1].isnan().item() == math.isnan(
        poison
    )


def test_directions() -> None:
    probabilities_KNC, targets_KN = draw(200, 3, seed=7, skill=0.2)
    better_KNC, _ = draw(200, 3, seed=7, skill=4.0)
    predictions_KNT, values_KNT = values(1, seed=8)
    worse = final_classification_metrics(probabilities_KNC, targets_KN) | final_regression_metrics(
        predictions_KNT, values_KNT
    )
    good = final_classification_metrics(better_KNC, targets_KN) | final_regression_metrics(
        (predictions_KNT + values_KNT) / 2, values_KNT
    )
    for name in worse:
        assert (good[name] > worse[name]).all() == (direction(name) == "max")
        assert (good[name] < worse[name]).all() == (direction(f"val/{name}") == "min")
    assert set(worse) >= HIGHER_IS_BETTER
    assert direction("test/loss") == "min"
