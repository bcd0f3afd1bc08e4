"""What the numbers of a sweep allow to conclude, as sentences: which configurations differ from the
best, what each key does, and what a mean contains.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from mlplab.config.suggestions import listing
from mlplab.metrics import direction
from mlplab.sweeps.report.comparisons import Comparisons, Difference
from mlplab.sweeps.report.intervals import ALPHA
from mlplab.sweeps.report.regroup import Effect, effects
from mlplab.sweeps.report.results import Group, Results, value_text
from mlplab.sweeps.report.statistics import interval_text
from mlplab.terminal.output import count, digits, plain, rounded

MAX_NAMED = 3
"""Configurations and values that a sentence names."""


class Conclusions:
    """The comparisons and effects of a sweep, each computed once."""

    def __init__(self, results: Results) -> None:
        self.results = results

    @cached_property
    def comparisons(self) -> Comparisons:
        return Comparisons(self.results.groups, self.results.headline)

    @cached_property
    def effects(self) -> list[Effect]:
        return effects(self.results)

    @property
    def remarks(self) -> list[str]:
        """All sentences, the most important first."""
        groups = self.results.groups
        if not groups or groups[0].statistics(self.results.headline).mean is None:
            return []
        return [
            *self.ranking,
            *self.test,
            *self.diverged,
            *self.two_groups,
            *map(effect_text, self.effects if len(self.results.axes) > 1 else []),
        ]

    @property
    def ranking(self) -> list[str]:
        """How many configurations are not distinguishable from the best."""
        number = len(self.results.groups)
        if number < 2:
            return []
        comparisons = self.comparisons
        if not comparisons.has_tests:
            metric = self.results.headline
            return [
                "The configurations cannot be compared: that takes at least two seeds each."
                if sum(group.statistics(metric).n > 1 for group in self.results.groups) < 2
                else "The configurations are not compared: they differ by the same amount for every"
                " seed, from which no error can be estimated."
            ]
        like = comparisons.num_like_best
        verdict = (
            f"No configuration is distinguishable from the best of {number}"
            if like == number
            else "The best is distinguishable from the other configuration"
            if number == 2
            else f"The best is distinguishable from every other of {number} configurations"
            if like == 1
            else f"{like} of {number} configurations are not distinguishable from the best (itself"
            " included)"
        )
        first = self.results.groups[comparisons.best]
        single = (
            f" The best with several seeds is meant, {label(first, self.results)}."
            if comparisons.best
            else ""
        )
        return [f"{verdict}: {family_text(comparisons)}.{single}"]

    @property
    def test(self) -> list[str]:
        """The test metric of the configuration that was selected on another split."""
        best = self.results.groups[0]
        return [
            f"{name} of the best: {statistics.interval} (n = {statistics.n})"
            for name in self.results.test_metrics
            if (statistics := best.statistics(name)).n
        ]

    @property
    def diverged(self) -> list[str]:
        """What the diverged jobs count as."""
        number = sum(group.num_diverged for group in self.results.groups)
        if not number:
            return []
        metric = self.results.headline
        jobs = f"{count(number, 'diverged job')} {'counts' if number == 1 else 'count'}"
        if metric in self.results.worst:
            value = digits(self.results.worst[metric]) if self.results.worst[metric] else "0"
            return [f"{jobs} as {metric} {value} (sweep.diverged=worst)."]
        return [f"{jobs} in no mean (sweep.diverged=drop)."]

    @property
    def two_groups(self) -> list[str]:
        """The configurations whose seeds form two groups."""
        named = [(group, modes_text(group, self.results.headline)) for group in self.results.groups]
        texts = [f"{label(group, self.results)}: {text}." for group, text in named if text]
        if len(texts) <= MAX_NAMED:
            return texts
        rest = count(len(texts) - MAX_NAMED, "more configuration")
        return [*texts[:MAX_NAMED], f"The seeds of {rest} form two groups."]


def label(group: Group, results: Results) -> str:
    """Return the values of a configuration as text, or the name of a sweep of only one."""
    texts = (f"{key}={value_text(value)}" for key, value in group.values.items())
    return ", ".join(texts) or plain(results.name)


def modes_text(group: Group, metric: str) -> str:
    """Return "two groups: 20 of 30 seeds at 0.99, 10 at 0.74", or an empty string."""
    modes = group.modes(metric)
    if modes is None:
        return ""
    groups = [(modes.num_high, modes.high_mean), (modes.num_low, modes.low_mean)]
    if direction(metric) == "min":
        groups.reverse()
    (good, good_mean), (bad, bad_mean) = groups
    gap = abs(good_mean - bad_mean) / 10  # two digits of the distance
    return (
        f"two groups: {good} of {good + bad} seeds at {rounded(good_mean, gap)},"
        f" {bad} at {rounded(bad_mean, gap)}"
    )


def effect_text(effect: Effect) -> str:
    """Return what a key does, such as "optimizer (mean over optimizer.lr): adam 0.81 [0.80, 0.82];
    beats sgd by 0.12 [0.10, 0.13]; not distinguishable from it: rmsprop".
    """
    groups, metric = effect.results.groups, effect.results.headline
    names = [value_text(group.values[effect.key]) for group in groups]
    statistics = groups[0].statistics(metric)
    over = f" (mean over {listing(effect.others, last=' and ')})" if effect.others else ""
    texts = [f"{effect.key}{over}: {names[0]} {statistics.interval}"]
    differences = list(zip(names, effect.comparisons.to_best, strict=True))[1:]
    alike = [name for name, d in differences if d is None or not d.is_distinguishable]
    beaten = [(name, d) for name, d in differences if d is not None and d.is_distinguishable]
    if alike:
        texts.append(f"not distinguishable from it: {_some(alike)}")
    if beaten:
        texts.append(f"beats {_some([f'{name} by {by_text(d)}' for name, d in beaten])}")
    return "; ".join(texts) + "."


def by_text(difference: Difference) -> str:
    """Return by how much the better one is better: "0.021 [0.005, 0.037]"."""
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return interval_text(abs(difference.mean), low, high, (high - low) / 2)


def _some(texts: Sequence[str]) -> str:
    if len(texts) <= MAX_NAMED:
        return listing(texts, last=" and ")
    return f"{', '.join(texts[:MAX_NAMED])} and {len(texts) - MAX_NAMED} more"


def family_text(comparisons: Comparisons) -> str:
    """Return how the differences were tested, such as "paired over 10 shared seeds, Holm's
    correction for 861 pairs, 5 %".
    """
    number = len(comparisons.groups) * (len(comparisons.groups) - 1) // 2
    correction = f"Holm's correction for {number:,} pairs, " if number > 1 else ""
    return f"{comparisons.method}; {correction}{100 * ALPHA:g} %"
