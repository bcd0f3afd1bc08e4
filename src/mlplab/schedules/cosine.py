"""Schedules made of cosines: half a cosine, at once or at the end, with restarts, the one-cycle
policy, and cycles that become longer.

Shapes: K members.
"""

import math
from dataclasses import dataclass

from mlplab.schedules.base import (
    UNITS,
    Schedule,
    anneal,
    cosine,
    floor,
    largest,
    logarithm,
    pick,
    ratio,
)
from mlplab.schema import Number, choice, integer, number


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the learning rate to min_factor times it, over the whole run.

        min_factor + (1 - min_factor) * (1 + cos(pi * t / total)) / 2

    Source: Loshchilov and Hutter 2017; torch's CosineAnnealingLR with T_max = total.
    """

    min_factor: Number = number(0.0, "factor at the end of the run", at_least=0, at_most=1)

    def shape(self, t: Number, total: Number) -> Number:
        return anneal(1.0, self.min_factor, ratio(t, total))


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Half a cosine that restarts after each period; each period is multiplier times as long as
    the one before.

    Source: Loshchilov and Hutter 2017 (SGDR); torch's CosineAnnealingWarmRestarts with T_0 =
    period, T_mult = multiplier.
    """

    period: Number = integer(10, "units of the first period", at_least=1, varies=True)
    multiplier: Number = integer(
        1, "length of each period relative to the one before", at_least=1, varies=True
    )
    min_factor: Number = number(0.0, "factor at the end of each period", at_least=0, at_most=1)

    def shape(self, t: Number, total: Number) -> Number:
        same = self.multiplier == 1
        # if all periods are equal, 2 only keeps the unused branch finite
        base = pick(same, 2.0, self.multiplier)
        # Period n starts at period * (base^n - 1) / (base - 1). Adding 1e-9 keeps rounding from
        # moving a start to the period before.
        period_index = floor(logarithm(t / self.period * (base - 1) + 1) / logarithm(base) + 1e-9)
        start = pick(
            same,
            floor(t / self.period) * self.period,
            self.period * (base**period_index - 1) / (base - 1),
        )
        length = pick(same, self.period, self.period * base**period_index)
        return anneal(1.0, self.min_factor, ratio(t - start, length))


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """The learning rate until start * total, then half a cosine down to min_factor times it.

        min_factor + (1 - min_factor) * (1 + cos(pi * p)) / 2
        p = max(t / total - start, 0) / (1 - start)

    Source: fastai's fit_flat_cos with pct_start = start.
    """

    start: Number = number(
        0.5, "share of the run after which the learning rate falls", at_least=0, below=1
    )
    min_factor: Number = number(0.0, "factor at the end of the run", at_least=0, at_most=1)

    def shape(self, t: Number, total: Number) -> Number:
        begin = self.start * total
        return anneal(1.0, self.min_factor, ratio(largest(t - begin, 0.0), total - begin))


@dataclass(frozen=True)
class CosLog4(Schedule):
    """Four cycles of a cosine between 0 and the learning rate, each about twice as long as the one
    before.

        (1 - cos(2 pi log2(1 + 15 t / total))) / 2

    It starts and ends at 0. Source: Holzmueller et al. 2024, "Better by Default" (RealMLP).
    """

    unit: str = choice("step", UNITS, "the unit of time: the factor changes once per unit")

    def shape(self, t: Number, total: Number) -> Number:
        cycle = logarithm(1 + 15 * ratio(t, total)) / math.log(2.0)
        return (1 - cosine(2 * math.pi * cycle)) / 2


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One cycle: half a cosine up from lr / div_factor to lr, then half a cosine down to lr /
    div_factor / final_div_factor.

    The peak, optimizer.lr, is at unit pct_start * total - 1; the end at total - 1. The momentum
    does not change. Source: Smith and Topin 2018; torch's OneCycleLR with cycle_momentum=False,
    max_lr = optimizer.lr.
    """

    unit: str = choice("step", UNITS, "the unit of time: the factor changes once per unit")
    pct_start: Number = number(
        0.3, "fraction of the run in which the learning rate rises", at_least=0, at_most=1
    )
    div_factor: Number = number(25.0, "the first factor is 1 / div_factor", at_least=1)
    final_div_factor: Number = number(
        10000.0, "the last factor is 1 / div_factor / final_div_factor", at_least=1
    )

    def shape(self, t: Number, total: Number) -> Number:
        first = 1 / self.div_factor
        peak, last = self.pct_start * total - 1, total - 1
        down = anneal(1.0, first / self.final_div_factor, ratio(t - peak, last - peak))
        return pick(t <= peak, anneal(first, 1.0, ratio(t, largest(peak, 0.0))), down)
