"""Schedules made of half cosines: a single one, one with restarts, and the one-cycle policy.

Shapes: K members.
"""

from dataclasses import dataclass

from mlplab.schedules.base import UNITS, Schedule, anneal, floor, largest, logarithm, pick, ratio
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
