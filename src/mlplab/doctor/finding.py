"""What the doctor says about a training: findings, each with its numbers and what helps."""

from __future__ import annotations

import math
from dataclasses import dataclass

TITLES = {
    "unscaled_inputs": "unscaled inputs",
    "unscaled_target": "unscaled target",
    "imbalance": "imbalanced classes",
    "symmetric_start": "symmetric start",
    "saturated_start": "saturated start",
    "vanishing_gradient": "vanishing gradient",
    "exploding_start": "exploding signal",
    "lr_too_high": "learning rate too high",
    "lr_too_low": "learning rate too low",
    "dead_units": "dead units",
    "stuck": "stuck",
    "too_few_units": "too few units",
    "label_noise": "label noise",
    "overfitting": "overfitting",
}
"""The diagnoses and what they are called, in the order in which they are checked: the data, the
start, the step, the state at the end, the fit.
"""


@dataclass(frozen=True)
class Measured:
    """A number that a finding is based on, and its range in healthy runs as text."""

    name: str
    value: float
    healthy: str

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3g} (healthy: {self.healthy})"

    def to_json(self) -> dict[str, object]:
        """Return the number as JSON has it, which has no NaN and no infinity."""
        value = self.value if math.isfinite(self.value) else None
        return {"name": self.name, "value": value, "healthy": self.healthy}


@dataclass(frozen=True)
class Finding:
    """A reason why a training went badly.

    Attributes:
        name: a key of TITLES.
        cause: what is the matter, as a sentence without a period.
        numbers: the measurements behind it.
        overrides: what helps, to be set together; empty if no override helps.
        advice: what to do besides, or instead; may be empty.
    """

    name: str
    cause: str
    numbers: tuple[Measured, ...]
    overrides: tuple[str, ...] = ()
    advice: str = ""

    @property
    def title(self) -> str:
        """What the diagnosis is called, such as "learning rate too high"."""
        return TITLES[self.name]

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.numbers))
        return f"{self.title}: {self.cause}. Measured: {numbers}."

    @property
    def remedy(self) -> str:
        """What helps, as sentences; empty if nothing is known to."""
        tried = f"Try {' '.join(self.overrides)}." if self.overrides else ""
        return " ".join(text for text in (tried, self.advice) if text)

    def to_json(self) -> dict[str, object]:
        """Return the finding as JSON has it."""
        return {
            "name": self.name,
            "title": self.title,
            "cause": self.cause,
            "numbers": [number.to_json() for number in self.numbers],
            "overrides": list(self.overrides),
            "advice": self.advice,
        }


@dataclass(frozen=True)
class Diagnosis:
    """The findings of a run, in the order of their checks, and notes, which are no ailments."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
