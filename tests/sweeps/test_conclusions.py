"""Intervals, comparisons, effects and groups of seeds: equal to scipy's, and right as often as they
claim on simulated sweeps.

`docs/statistics.md` has the rates that the campaign measures (2,000 simulations of each case).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from harness import record_measurement, size
from scipy import stats

import mlplab
from mlplab.errors import ConfigError
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.report.collect import collect
from mlplab.sweeps.report.comparisons import Comparisons
from mlplab.sweeps.report.conclusions import Conclusions, modes_text
from mlplab.sweeps.report.intervals import holm, mean_interval, student
from mlplab.sweeps.report.modes import explained_variance, two_groups
from mlplab.sweeps.report.regroup import effects, with_groups, with_metric
from mlplab.sweeps.report.results import Group, JobResult, Results
from mlplab.sweeps.report.statistics import Statistics

SIZES = (5, 10, 30)
METRIC = "val/accuracy"

# Shapes: R simulations, N seeds, G configurations.


def job(number, values, metrics, status="done", **facts):
    return JobResult(number, status, "", values, metrics, (), Path(), facts)


def groups_of(scores_GN, metric=METRIC, first_seeds=None):
    """Configurations with one job a seed; NaN where there is none."""
    groups = []
    for i, scores in enumerate(scores_GN):
        start = 0 if first_seeds is None else first_seeds[i]
        jobs = [
            job(1000 * i + k, {"x": i, "seed": start + k}, {metric: float(value)})
            for k, value in enumerate(scores)
            if np.isfinite(value)
        ]
        groups.append(Group({"x": i}, tuple(jobs)))
    return groups


# ---- against scipy


def test_a_paired_difference_is_that_of_scipy():
    one, other = np.random.default_rng(0).normal(0.8, 0.05, (2, 12))
    (difference,) = Comparisons(groups_of([other, one], "val/loss"), "val/loss").all_pairs.values()
    expected = stats.ttest_rel(one, other)
    assert (difference.p, difference.adjusted) == pytest.approx((expected.pvalue,) * 2, rel=1e-10)
    assert (difference.low, difference.high) == pytest.approx(expected.confidence_interval())
    assert (difference.single_low, difference.single_high) == (difference.low, difference.high)
    assert (difference.mean, difference.n, difference.paired) == (
        pytest.approx(np.mean(one - other)),
        12,
        True,
    )


def test_without_shared_seeds_it_is_the_test_of_welch():
    random = np.random.default_rng(1)
    one, other = random.normal(0.8, 0.05, 9), random.normal(0.7, 0.01, 5)
    groups = groups_of([other, one], "val/loss", first_seeds=[0, 100])
    (difference,) = Comparisons(groups, "val/loss").all_pairs.values()
    expected = stats.ttest_ind(one, other, equal_var=False)
    assert difference.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert (difference.low, difference.high) == pytest.approx(expected.confidence_interval())
    assert (difference.n, difference.paired) == (5, False)


def test_a_few_missing_seeds_leave_the_pairs_and_many_do_not():
    scores = np.random.default_rng(2).normal(0.8, 0.05, (2, 10))
    scores[1, :3] = np.nan
    (difference,) = Comparisons(groups_of(scores), METRIC).all_pairs.values()
    assert (difference.n, difference.paired) == (7, True)
    assert difference.p == pytest.approx(stats.ttest_rel(scores[1, 3:], scores[0, 3:]).pvalue)
    groups = groups_of(scores[:, 3:], first_seeds=[0, 5])  # two of seven seeds are shared
    (difference,) = Comparisons(groups, METRIC).all_pairs.values()
    assert not difference.paired


def test_folds_widen_a_difference():
    """Nadeau and Bengio: 1 / n becomes 1 / n + test rows / train rows."""
    one, other = np.random.default_rng(3).normal(0.8, 0.05, (2, 10))
    jobs = [
        [job(k, {"seed": k}, {"test/accuracy": value}, folds=5) for k, value in enumerate(scores)]
        for scores in (other, one)
    ]
    groups = [Group({"x": i}, tuple(of_one)) for i, of_one in enumerate(jobs)]
    (difference,) = Comparisons(groups, "test/accuracy").all_pairs.values()
    error = np.std(one - other, ddof=1) * math.sqrt(1 / 10 + 1 / 4)
    t = np.mean(one - other) / error
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(t), 9))
    assert difference.high - difference.low == pytest.approx(2 * stats.t.ppf(0.975, 9) * error)


def test_holms_correction():
    """The example is that of statsmodels' multipletests(method="holm")."""
    adjusted, levels = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert levels == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])
    p = np.random.default_rng(0).uniform(0, 0.02, 30)
    bonferroni = np.minimum(p * 30, 1)
    assert (holm(p)[0] <= bonferroni + 1e-15).all()
    assert (holm(p, 100)[0] >= holm(p)[0]).all()
    assert holm(np.array([np.nan, 1e-9]))[0] == pytest.approx([1, 2e-9])


def test_an_interval_excludes_zero_if_and_only_if_its_pair_is_distinguishable():
    random = np.random.default_rng(4)
    scores_GN = 0.8 + 0.01 * np.arange(12)[:, None] + random.normal(0, 0.03, (12, 10))
    pairs = Comparisons(groups_of(scores_GN, "val/loss"), "val/loss").all_pairs
    decided = [d.is_distinguishable for d in pairs.values()]
    assert 5 < sum(decided) < len(decided) - 5
    assert decided == [not d.low <= 0 <= d.high for d in pairs.values()]


def test_intervals_are_those_of_wilson_and_student():
    z = stats.norm.ppf(0.975)
    for hits in (0, 1, 50, 97, 100):
        p = hits / 100
        ends = mean_interval(*map(np.asarray, (p, p * (1 - p), z, 0.01, 0.0)), (0.0, 1.0))
        expected = stats.binomtest(hits, 100).proportion_ci(method="wilson")
        if 0 < hits < 100:  # at a bound, the dispersion is not known from the values
            assert [float(end) for end in ends] == pytest.approx(list(expected))
    values = np.random.default_rng(5).normal(0.5, 0.01, 12)
    statistics = Statistics.of(values.tolist(), METRIC)
    expected = stats.t.interval(0.95, 11, np.mean(values), stats.sem(values))
    assert (statistics.interval_low, statistics.interval_high) == pytest.approx(expected, abs=1e-4)


def test_the_interquartile_mean_is_that_of_scipy():
    for n in range(1, 14):
        values = np.random.default_rng(n).normal(size=n)
        assert Statistics.of(values.tolist()).iqm == pytest.approx(stats.trim_mean(values, 0.25))


# ---- as often right as claimed


def intervals(values_RN, metric):
    """The ends of the intervals of many samples at once, and of some by `Statistics`."""
    limits = {"accuracy": (0.0, 1.0), "rmse": (0.0, math.inf)}.get(metric, (-math.inf, math.inf))
    n = values_RN.shape[1]
    variance_R = values_RN.var(1, ddof=1)
    at_bound_R = np.isin(values_RN, limits).mean(1)
    at_bound_R = np.where(values_RN.max(1) == values_RN.min(1), 1.0, at_bound_R)
    arguments = (values_RN.mean(1), variance_R, student(n - 1), 1 / n, at_bound_R)
    low_R, high_R = mean_interval(*map(np.asarray, arguments), limits)
    for row, low, high in zip(values_RN[:5], low_R, high_R, strict=False):
        statistics = Statistics.of(row.tolist(), f"val/{metric}")
        assert (statistics.interval_low, statistics.interval_high) == pytest.approx((low, high))
    return low_R, high_R


def coverage(values_RN, mean, metric):
    low_R, high_R = intervals(values_RN, metric)
    return float(((low_R <= mean) & (mean <= high_R)).mean())


def accuracies(random, shape, mean, concentration, rows):
    """Measured on some rows; the true accuracy of each seed is drawn from a beta distribution."""
    true = random.beta(mean * concentration, (1 - mean) * concentration, shape)
    return random.binomial(rows, true) / rows


BETA = [
    (mean, concentration, rows)
    for mean in (0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
    for concentration in (10, 20, 100, 500)
    for rows in (100, 400)
]


@pytest.mark.campaign("lecture", small=True)
@pytest.mark.parametrize("n", SIZES)
def test_intervals_of_accuracies_cover_the_mean(n):
    random, repeats = np.random.default_rng(n), size(1000, 20_000)
    for mean, concentration, rows in BETA[:: size(5, 1)]:
        values_RN = accuracies(random, (repeats, n), mean, concentration, rows)
        rate = coverage(values_RN, mean, "accuracy")
        record_measurement("coverage", n=n, case=(mean, concentration, rows), rate=rate)
        assert rate >= size(0.915, 0.93), (mean, concentration, rows, rate)


@pytest.mark.campaign("lecture", small=True)
@pytest.mark.parametrize("n", SIZES)
def test_intervals_of_normal_and_skewed_numbers_cover_the_mean(n):
    random, shape = np.random.default_rng(n), (size(2000, 20_000), n)
    normal = {
        "accuracy 0.8, std 0.02": (random.normal(0.8, 0.02, shape), 0.8, "accuracy"),
        "accuracy 0.95, std 0.01": (random.normal(0.95, 0.01, shape), 0.95, "accuracy"),
        "rmse 1, std 0.1": (random.normal(1, 0.1, shape), 1, "rmse"),
        "loss 1, std 0.2": (random.normal(1, 0.2, shape), 1, "loss"),
    }
    skewed = {
        "rmse, gamma of cv 0.3": (random.gamma(11.1, 1 / 11.1, shape), 1, "rmse"),
        "rmse, gamma of cv 0.5": (random.gamma(4, 0.25, shape), 1, "rmse"),
        "rmse, exponential": (random.exponential(1, shape), 1, "rmse"),
        "rmse, lognormal of sigma 0.5": (random.lognormal(0, 0.5, shape), math.exp(1 / 8), "rmse"),
    }
    for name, case in (normal | skewed).items():
        rate = coverage(*case)
        record_measurement("coverage", n=n, case=name, rate=rate)
        assert rate >= size(0.925, 0.93), (name, rate)
        assert rate <= 0.97 or name in skewed, (name, rate)


@pytest.mark.campaign("lecture", small=True)
@pytest.mark.parametrize("n", SIZES)
def test_shared_rows_are_what_the_interval_is_about(n):
    """Seeds that have the same 40 validation rows: the interval contains the mean on these rows,
    and the mean on all rows much more rarely; with rows of their own, it contains the latter.
    """
    random, shape = np.random.default_rng(n), (size(1000, 20_000), n, 40)
    right_RN40 = random.beta(0.9, 0.1, shape)  # how likely a network is right, by row
    separate_RN = random.binomial(1, right_RN40).mean(2)
    right_RN40[:] = right_RN40[:, :1]
    shared_RN = random.binomial(1, right_RN40).mean(2)
    rates = {
        "own rows, all rows": coverage(separate_RN, 0.9, "accuracy"),
        "shared rows, these rows": coverage(shared_RN, right_RN40[:, 0].mean(1), "accuracy"),
        "shared rows, all rows": coverage(shared_RN, 0.9, "accuracy"),
    }
    record_measurement("validation rows", n=n, **rates)
    *covered, missed = rates.values()
    assert min(covered) >= size(0.915, 0.93)
    assert missed < 0.85


def simulated_sweeps(random, repeats, num_groups, n):
    """Sweeps whose configurations have equal means and share an effect of each seed, [G, N]."""
    for _ in range(repeats):
        seed_N = random.normal(0, 0.03, n)
        std_G1 = random.choice([0.005, 0.02, 0.05], (num_groups, 1))
        yield "val/loss", 0.8 + seed_N + std_G1 * random.normal(size=(num_groups, n))
        true_N = random.beta(99, 1, n)
        yield METRIC, random.binomial(200, true_N, (num_groups, n)) / 200


@pytest.mark.campaign("lecture", small=True)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("num_groups", [5, 10])
def test_equal_configurations_are_rarely_called_different(num_groups, n):
    """Any false claim about any pair counts as an error of the sweep."""
    random, repeats = np.random.default_rng(n), size(8, 2000)
    errors = {"val/loss": 0, METRIC: 0}
    for metric, scores_GN in simulated_sweeps(random, repeats, num_groups, n):
        best_first = scores_GN[np.argsort(-scores_GN.mean(1))]
        comparisons = Comparisons(groups_of(best_first, metric), metric)
        assert comparisons.num_like_best <= num_groups
        errors[metric] += any(d.is_distinguishable for d in comparisons.all_pairs.values())
    for metric, number in errors.items():
        rate = number / repeats
        record_measurement("family-wise error", n=n, groups=num_groups, metric=metric, rate=rate)
        assert rate <= size(0.25, 0.065), (metric, rate)


@pytest.mark.campaign("lecture", small=True)
@pytest.mark.parametrize("n", [8, 10, 13, 30, 100])
def test_normal_seeds_are_rarely_called_two_groups(n):
    random, repeats = np.random.default_rng(n), size(200, 20_000)
    rate = np.mean([two_groups(row) is not None for row in random.normal(size=(repeats, n))])
    beta = accuracies(random, (repeats, n), 0.97, 100, 400)
    skewed = np.mean([two_groups(row) is not None for row in beta])
    record_measurement("two groups", n=n, normal=float(rate), skewed=float(skewed))
    assert rate <= 0.05
    assert skewed <= size(0.07, 0.05)


# ---- two groups


def test_solved_and_stuck_seeds_are_two_groups():
    random = np.random.default_rng(6)
    values = [*(1 - 0.01 * random.random(20)), *(0.72 + 0.06 * random.random(10))]
    modes = two_groups(values)
    assert (modes.num_high, modes.num_low) == (20, 10)
    (group,) = groups_of([values])
    assert modes_text(group, METRIC).startswith("two groups: 20 of 30 seeds at 0.99")
    assert two_groups([1.0] * 20 + [0.75] * 10).explained == pytest.approx(1)
    assert two_groups([1.0] * 30) is None
    assert two_groups([1.0] * 4 + [0.5] * 3) is None  # too few to say


def test_the_best_split_is_that_of_all_splits():
    values = np.sort(np.random.default_rng(7).normal(size=15))
    brute = [
        1 - (values[:k].var() * k + values[k:].var() * (15 - k)) / (values.var() * 15)
        for k in range(2, 14)
    ]
    assert explained_variance(values[None])[0] == pytest.approx(brute)


# ---- what a sweep says


def crossed(num_seeds=8, drop=()):
    """Two keys; `b` is better than `a` by 0.02 at each lr, with a large effect of the seed."""
    random = np.random.default_rng(8)
    seeds = random.normal(0, 0.05, num_seeds)
    jobs = []
    for lr in (0.1, 0.2, 0.3):
        for name, gain in (("a", 0.0), ("b", 0.02)):
            for seed in range(num_seeds):
                values = {"lr": lr, "name": name, "seed": seed}
                if (lr, name) in drop:
                    continue
                score = 0.7 + lr / 10 + gain + seeds[seed] + random.normal(0, 0.001)
                metrics = {METRIC: score, "val/loss": 1 - score, "test/accuracy": score - 0.01}
                jobs.append(job(len(jobs), values, metrics))
    return Results("crossed", Path("crossed"), jobs)


def test_paired_differences_are_sharper_than_intervals():
    results = crossed()
    conclusions = Conclusions(results)
    first, second = (group.statistics(METRIC) for group in results.groups[:2])
    assert first.interval_low < second.mean  # the intervals overlap widely
    assert conclusions.comparisons.num_like_best == 1
    assert conclusions.ranking == [
        "The best is distinguishable from every other of 6 configurations: paired over 8 shared"
        " seeds; Holm's correction for 15 pairs, 5 %."
    ]
    effect = next(effect for effect in conclusions.effects if effect.key == "name")
    assert effect.results.groups[0].values["name"] == "b"
    (difference,) = effect.comparisons.all_pairs.values()
    assert difference.mean == pytest.approx(-0.02, abs=0.001)
    assert difference.n == 8
    text = next(line for line in conclusions.remarks if line.startswith("name"))
    assert text.startswith("name (mean over lr): b 0.694 [0.650, 0.734]; beats a by 0.0198 [0.01")
    assert conclusions.test[0].startswith("test/accuracy of the best: 0.69")


def test_an_effect_averages_only_what_all_values_have():
    results = crossed(drop=[(0.3, "b")])
    by_key = {effect.key: effect for effect in effects(results)}
    (difference,) = by_key["name"].comparisons.all_pairs.values()
    assert difference.mean == pytest.approx(-0.02, abs=0.001)  # not that of lr 0.3 too
    grouped, text = with_groups(results, ["name"])
    assert "8 jobs without a counterpart in each row are left out" in text
    assert len(grouped.groups) == 2
    only_pairs = crossed(drop=[(0.1, "a"), (0.2, "a"), (0.3, "b")])
    assert effects(only_pairs) == []
    assert "were not combined fully" in with_groups(only_pairs, ["name"])[1]


def test_one_seed_is_not_compared():
    conclusions = Conclusions(crossed(num_seeds=1))
    assert conclusions.ranking[0].startswith("The configurations cannot be compared")
    assert conclusions.comparisons.to_best == [None] * 6


def test_seeds_without_variance_are_not_compared():
    scores = [[1.0] * 4, [1.0] * 4]
    jobs = [result for group in groups_of(scores) for result in group.jobs]
    conclusions = Conclusions(Results("perfect", Path("perfect"), jobs))
    assert "by the same amount for every seed" in conclusions.ranking[0]


def test_equal_differences_are_no_certainty():
    """Of accuracies: four seeds that differ by one row of 100 each, and others by two."""
    jobs = groups_of([[0.91, 0.93, 0.95, 0.97], [0.90, 0.92, 0.94, 0.96]])
    (difference,) = Comparisons(jobs, METRIC).all_pairs.values()
    assert 0.01 < difference.p < 1
    losses = groups_of([[0.5, 0.25, 0.125], [1.0, 0.75, 0.625]], "val/loss")
    assert Comparisons(losses, "val/loss").to_best == [None, None]


def test_a_metric_or_key_with_a_typo_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean `--metric val/loss`"):
        with_metric(crossed(), "val/los")
    with pytest.raises(ConfigError, match="Did you mean `--group-by name`"):
        with_groups(crossed(), ["nme"])


def test_the_share_of_solved_seeds():
    (group,) = groups_of([[0.9, 0.95, 0.99, 1.0]])
    assert group.share(METRIC, 0.95) == 0.75
    (losses,) = groups_of([[0.9, 0.1]], "val/loss")
    assert losses.share("val/loss", 0.1) == 0.5


def test_collected_results_have_the_options_of_their_statistics():
    overrides = ["experiment=xor_mlp", "training.epochs=1", "seed=0,1", "tracking=off"]
    mlplab.sweep([*overrides, "sweep.diverged=drop", "sweep.threshold=0.9"], Path("s"))
    results = collect(read_plan(Path("s")), Path("s"))
    assert (results.diverged, results.threshold) == ("drop", 0.9)
