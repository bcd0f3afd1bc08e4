"""The plateau schedule: a member's learning rate drops when its monitored metric stops improving.

Shapes: K members.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlplab.errors import FieldError
from mlplab.schedules.base import Schedule, State
from mlplab.schema import Number, choice, integer, number


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplies the learning rate by gamma when the monitored metric has not improved for more
    than patience evaluations.

    An evaluation improves when metric < best * (1 - threshold) (threshold_mode=rel) or metric <
    best - threshold (abs); NaN never does. After a drop, `cooldown` evaluations do not count.
    Source: torch's ReduceLROnPlateau with eps = 0, whose `factor` is gamma here. The relative
    threshold is meant for positive metrics.
    """

    gamma: Number = number(0.1, "factor of each drop", above=0, below=1)
    patience: Number = integer(
        10, "evaluations without improvement that pass before a drop", at_least=0, varies=True
    )
    threshold: Number = number(0.0001, "how much better counts as an improvement", at_least=0)
    threshold_mode: str = choice(
        "rel", ("rel", "abs"), "rel: relative to the best so far; abs: in the unit of the metric"
    )
    cooldown: Number = integer(
        0, "evaluations after a drop that do not count", at_least=0, varies=True
    )
    min_factor: Number = number(
        0.0, "lower bound of the factor after all drops", at_least=0, at_most=1
    )

    stateful: ClassVar[bool] = True

    def check(self) -> None:
        if (
            self.threshold_mode == "rel"
            and not isinstance(self.threshold, Tensor)
            and self.threshold >= 1
        ):
            raise FieldError(
                "threshold", self.threshold, "is out of range: in [0, 1) with threshold_mode=rel"
            )

    def shape(self, t: Number, total: Number) -> Number:
        return 1.0

    def init(self, num_members: int, device: torch.device | str = "cpu") -> State:
        starts = {"best": torch.inf, "bad": 0.0, "cooling": 0.0, "factor": 1.0}
        return {
            name: torch.full((num_members, 1), start, dtype=torch.float64, device=device)
            for name, start in starts.items()
        }

    def observe(self, state: State, metric_K: Tensor) -> State:
        metric_K1 = metric_K.double().view(-1, 1)
        best_K1, cooling_K1 = state["best"], state["cooling"]
        limit_K1 = (
            best_K1 * (1 - self.threshold)
            if self.threshold_mode == "rel"
            else best_K1 - self.threshold
        )
        better_K1 = metric_K1 < limit_K1
        stalled_K1 = torch.where(better_K1 | (cooling_K1 > 0), 0.0, state["bad"] + 1)
        drops_K1 = stalled_K1 > self.patience
        return {
            "best": torch.where(better_K1, metric_K1, best_K1),
            "bad": torch.where(drops_K1, 0.0, stalled_K1),
            "cooling": torch.where(drops_K1, self.cooldown, (cooling_K1 - 1).clamp_min(0)),
            "factor": torch.where(
                drops_K1, (state["factor"] * self.gamma).clamp_min(self.min_factor), state["factor"]
            ),
        }

    def current(self, state: State) -> Number:
        return state["factor"]
