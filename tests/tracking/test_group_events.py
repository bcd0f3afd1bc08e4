"""TensorBoard runs of groups of jobs: the statistics at each step, and what the readers see."""

from __future__ import annotations

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlplab.tracking.group_events import (
    MAX_EVALUATIONS,
    History,
    JobGroup,
    aggregate,
    write_groups,
)


def history(values, epochs=None, per_epoch=10, is_done=True):
    values = np.asarray(values, float).reshape(len(values), -1)
    epoch = np.arange(len(values)) if epochs is None else np.asarray(epochs)
    return History(epoch, epoch * per_epoch, values, is_done)


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:All-NaN")
def test_statistics_are_those_of_numpy_over_the_finite_values():
    rng = np.random.default_rng(0)
    values_JTM = rng.normal(size=(7, 5, 3))
    values_JTM[rng.random(values_JTM.shape) < 0.3] = np.nan
    values_JTM[2, 3, 1], values_JTM[3, 3, 1] = np.inf, -np.inf
    values_JTM[:, 0, 2] = np.nan
    group = aggregate([history(values_TM) for values_TM in values_JTM])
    values_JTM[~np.isfinite(values_JTM)] = np.nan
    assert group.step.tolist() == [0, 10, 20, 30, 40]
    assert np.isnan(group.statistics["mean"][0, 2])
    kept = np.isfinite(values_JTM).any(axis=0)
    expected = {
        "mean": np.nanmean(values_JTM.astype("f4"), axis=0),
        "quantile_0.1": np.nanquantile(values_JTM.astype("f4"), 0.1, axis=0),
        "median": np.nanmedian(values_JTM.astype("f4"), axis=0),
        "quantile_0.9": np.nanquantile(values_JTM.astype("f4"), 0.9, axis=0),
        "min": np.nanmin(values_JTM.astype("f4"), axis=0),
        "max": np.nanmax(values_JTM.astype("f4"), axis=0),
    }
    assert list(group.statistics) == list(expected)
    for name, values_TM in expected.items():
        np.testing.assert_allclose(group.statistics[name][kept], values_TM[kept], rtol=1e-6)
        assert np.isnan(group.statistics[name][~kept]).all()


def test_seeds_that_end_early_keep_their_last_value_and_diverged_ones_leave():
    jobs = [
        history([1, 1, 1, 1, 1]),
        history([3, 2, 4]),  # by patience
        history([5, np.inf], is_done=False),
        history([7, 7], epochs=[0, 2], per_epoch=11),  # evaluated every other epoch
    ]
    group = aggregate(jobs)
    assert group.step.tolist() == [0, 10, 20, 30, 40]
    assert group.statistics["mean"][:, 0].tolist() == pytest.approx([4, 10 / 3, 4, 4, 4])
    assert group.statistics["max"][:, 0].tolist() == [7, 7, 7, 7, 7]
    assert group.in_training.tolist() == [4, 4, 3, 1, 1]


def test_long_histories_are_thinned_and_a_value_beyond_float32_does_not_count():
    values = np.linspace(0, 1, 10_001)
    values[0] = 1e300
    group = aggregate([history(values), history(np.zeros(3))])
    assert len(group.step) == MAX_EVALUATIONS
    assert (group.step[0], group.step[-1]) == (0, 100_000)
    assert group.statistics["mean"][0, 0] == 0
    assert group.statistics["mean"][-1, 0] == 0.5


def test_a_run_has_the_mean_under_the_tag_of_the_metric(tmp_path):
    groups = [
        JobGroup(
            "lr=0.1 é/..", {"lr": 0.1}, [history([1, 2]), history([3, 6])], {"val_best/n": 2.0}
        ),
        JobGroup("", {"lr": 0.2}, []),
    ]
    names = write_groups(tmp_path, ["val/loss"], groups, {"lr": [0.1, 0.2]}, ["val_best/n"])
    assert names == ["000-lr=0.1_..", "001-jobs"]
    reader = EventAccumulator(str(tmp_path / names[0])).Reload()
    assert sorted(reader.Tags()["scalars"]) == [
        *("val/loss", "val_best/n", "within/jobs_in_training", "within/max/val/loss"),
        *("within/median/val/loss", "within/min/val/loss"),
        *("within/quantile_0.1/val/loss", "within/quantile_0.9/val/loss"),
    ]
    points = [(event.step, event.value) for event in reader.Scalars("val/loss")]
    assert points == [(0, 2.0), (10, 4.0)]
    assert reader.Scalars("within/quantile_0.9/val/loss")[1].value == pytest.approx(5.6)
