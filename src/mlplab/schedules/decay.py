"""Schedules that only decrease: in steps, by a constant ratio, along a line or a power.

Shapes: K members.
"""

from dataclasses import dataclass

from mlplab.errors import FieldError
from mlplab.schedules.base import Schedule, floor, pick, ratio
from mlplab.schema import Number, integer, number, numbers


@dataclass(frozen=True)
class Constant(Schedule):
    """A constant learning rate."""

    def shape(self, t: Number, total: Number) -> Number:
        return 1.0


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiplies the learning rate by gamma every step_size units: gamma^floor(t / step_size)."""

    step_size: Number = integer(30, "units between two drops", at_least=1, varies=True)
    gamma: Number = number(0.1, "factor of each drop", above=0)

    def shape(self, t: Number, total: Number) -> Number:
        return self.gamma ** floor(t / self.step_size)


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Multiplies the learning rate by gamma at each milestone: gamma^n after n milestones."""

    milestones: list[float] = numbers(
        [30, 80], "units at which the learning rate drops, increasing", above=0
    )
    gamma: Number = number(0.1, "factor of each drop", above=0)

    def check(self) -> None:
        if sorted(set(self.milestones)) != list(self.milestones):
            raise FieldError("milestones", self.milestones, "does not increase")

    def shape(self, t: Number, total: Number) -> Number:
        passed: Number = 0.0
        for milestone in self.milestones:
            passed = passed + pick(t >= milestone, 1.0, 0.0)
        return self.gamma**passed


@dataclass(frozen=True)
class Exponential(Schedule):
    """Multiplies the learning rate by gamma every unit: gamma^t."""

    gamma: Number = number(0.95, "factor of each unit", above=0)

    def shape(self, t: Number, total: Number) -> Number:
        return self.gamma**t


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line from the learning rate to end_factor times it over the whole run:
    1 + (end_factor - 1) * t / total.
    """

    end_factor: Number = number(0.0, "factor at the end of the run", at_least=0)

    def shape(self, t: Number, total: Number) -> Number:
        return 1 + (self.end_factor - 1) * ratio(t, total)


@dataclass(frozen=True)
class Polynomial(Schedule):
    """Falls to 0 over the whole run as a power of the time left: (1 - t / total)^power."""

    power: Number = number(2.0, "1 is a line; larger falls early", above=0)

    def shape(self, t: Number, total: Number) -> Number:
        return (1 - ratio(t, total)) ** self.power
