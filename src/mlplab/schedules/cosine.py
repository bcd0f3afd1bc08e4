"""Schedules made of half cosines: one, one that starts again, and the one-cycle policy.

Shapes: K members.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlplab.schedules.base import UNITS, Schedule, anneal, floor, largest, logarithm, pick, ratio
from mlplab.schema import Number, choice, integer, number


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the learning rate to min_factor times it over the whole run.

        min_factor + (1 - min_factor) * (1 + cos(pi * t / total)) / 2

    Source: Loshchilov and Hutter 2017; torch's CosineAnnealingLR with T_max = total.
    """

    min_factor: Number = number(0.0, "factor at the end of the run", at_least=0, at_most=1)

    def shape(self, t: Number, total: Number) -> Number:
        return anneal(1.0, self.min_factor, ratio(t, total))


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Half a cosine that starts again after each period, each period multiplier times as long as
    the last.

    Source: Loshchilov and Hutter 2017 (SGDR); torch's CosineAnnealingWarmRestarts with T_0 =
    period, T_mult = multiplier.
    """

    period: Number = integer(10, "units of the first period", at_least=1, varies=True)
    multiplier: Number = integer(
        1, "how many times as long each next period is", at_least=1, varies=True
    )
    min_factor: Number = number(0.0, "factor at the end of each period", at_least=0, at_most=1)

    def shape(self, t: Number, total: Number) -> Number:
        same = self.multiplier == 1
        # where periods are equal, any number that keeps the unused branch finite
        base = pick(same, 2.0, self.multiplier)
        # Period n starts at period * (base^n - 1) / (base - 1). The small number keeps a start from
        # falling into the period before.
        num_grown = floor(logarithm(t / self.period * (base - 1) + 1) / logarithm(base) + 1e-9)
        start = pick(
            same,
            floor(t / self.period) * self.period,
            self.period * (base**num_grown - 1) / (base - 1),
        )
        length = pick(same, self.period, self.period * base**num_grown)
        return anneal(1.0, self.min_factor, ratio(t - start, length))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One cycle: half a cosine up from lr / div_factor to lr, then half a cosine down to lr /
    div_factor / final_div_factor.

    The peak, optimizer.lr, is at unit pct_start * total - 1; the end at total - 1. The momentum
    stays what it is. Source: Smith and Topin 2018; torch's OneCycleLR with cycle_momentum=False,
    max_lr = optimizer.lr.
    """

    unit: str = choice("step", UNITS, "what time is counted in: the factor changes once a unit")
    pct_start: Number = number(0.3, "part of the run that goes up", at_least=0, at_most=1)
    div_factor: Number = number(25.0, "the first factor is 1 / div_factor", at_least=1)
    final_div_factor: Number = number(
        10000.0, "the last factor is 1 / div_factor / final_div_factor", at_least=1
    )

    def shape(self, t: Number, total: Number) -> Number:
        first = 1 / self.div_factor
        peak, last = self.pct_start * total - 1, total - 1
        down = anneal(1.0, first / self.final_div_factor, ratio(t - peak, last - peak))
        return pick(t <= peak, anneal(first, 1.0, ratio(t, largest(peak, 0.0))), down)
