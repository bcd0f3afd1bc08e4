"""The `training` group: duration, batch style, early stopping and gradient limits."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mlplab.errors import FieldError
from mlplab.schema import Component, Number, anything, choice, flag, integer, number, text

AUTO = "auto"
"""The value of a key that follows from the data: `training.auto_values` has the rules."""

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _UNITS))


def seconds_of(key: str, value: object) -> float:
    """Return the seconds of a duration: a number, or a text such as 10m. Raises FieldError."""
    if isinstance(value, str) and value and (match := _DURATION.fullmatch(value.replace(" ", ""))):
        amounts = zip(match.groups(), _UNITS.values(), strict=True)
        value = sum(float(amount) * seconds for amount, seconds in amounts if amount)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FieldError(
            key, value, "is not a time: write seconds, or a text such as 90s, 10m, 2h or 1h30m"
        )
    if not (value > 0 and math.isfinite(value)):
        raise FieldError(key, value, "is out of range: a time > 0")
    return float(value)


@dataclass(frozen=True)
class Training(Component):
    """The options that all training styles share."""

    epochs: int = integer(100, "passes over the train split", at_least=1, varies=True)
    steps: int | None = integer(
        None,
        "parameter updates; replaces epochs if set",
        at_least=1,
        optional=True,
        varies=True,
    )
    shuffle: bool = flag(True, "draw a new order of the examples each epoch")
    evaluate_every: int = integer(
        1, "epochs between evaluations of the train and val splits", at_least=1
    )
    patience: int | None = integer(
        None,
        "stop after this many evaluations without improvement; null disables early stopping",
        at_least=1,
        optional=True,
        varies=True,
    )
    min_delta: Number = number(
        0.0, "minimum change of the monitored metric that counts as an improvement", at_least=0
    )
    monitor: str = text(
        "auto",
        "metric of the val split (train if there is none) that selects the best weights: loss,"
        " accuracy, balanced_accuracy, f1, mcc, auroc, average_precision, log_loss, brier; mae,"
        " rmse, r2, mape; or one of your own; auto is the loss",
    )
    clip_norm: Number | None = number(
        None,
        "maximum norm of a network's whole gradient; null disables clipping",
        above=0,
        optional=True,
    )
    clip_value: Number | None = number(
        None,
        "maximum absolute value of each gradient entry; null disables clipping",
        above=0,
        optional=True,
    )
    l1: Number = number(
        0.0, "adds l1 * sum |w| over all weights, excluding biases, to the objective", at_least=0
    )
    l2: Number = number(
        0.0,
        "adds l2 / 2 * sum w^2 over all weights, excluding biases, to the objective",
        at_least=0,
    )
    average: str = choice(
        "none",
        ("none", "ema", "swa", AUTO),
        "which weights are evaluated and saved: those of the last step, their exponential moving"
        " average after every step (ema), or their mean after every epoch (swa); auto is ema, or"
        " none with model.normalization=batch",
    )
    average_decay: Number = number(
        0.99, "ema: weight of the previous average at each step", at_least=0, below=1
    )
    average_start: Number | None = number(
        None,
        "share of the training after which the average begins; null is 0 for ema, 0.75 for swa",
        at_least=0,
        below=1,
        optional=True,
    )
    calibration: str = choice(
        "none",
        ("none", "temperature", "auto"),
        "temperature: after training, divide the outputs of a classifier by the number that"
        " minimizes the log loss of the val split, the temperature; auto: the same where there are"
        " classes and a val split",
    )
    time_limit: float | str | None = anything(
        None,
        "time of training after which a run ends at its next evaluation: seconds, or a text such as"
        " 90s, 10m, 2h or 1h30m; null: no limit",
    )

    def check(self) -> None:
        if self.time_limit is not None:
            seconds_of("time_limit", self.time_limit)

    @property
    def seconds_limit(self) -> float | None:
        """The seconds of training after which a run ends; None: there is no limit."""
        return None if self.time_limit is None else seconds_of("time_limit", self.time_limit)

    @property
    def average_begin(self) -> float:
        """The share of the training after which an average of the weights begins."""
        if self.average_start is not None:
            return float(self.average_start)
        return 0.75 if self.average == "swa" else 0.0

    def portion(self, num_examples: int) -> int:
        """Return the number of examples that one update uses, out of `num_examples`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Batch(Training):
    """Batch gradient descent: one update per epoch from all training examples (the lecture's batch
    style).
    """

    def portion(self, num_examples: int) -> int:
        return num_examples


@dataclass(frozen=True)
class Sgd(Training):
    """Stochastic gradient descent: one update per training example (the lecture's SGD style)."""

    def portion(self, num_examples: int) -> int:
        return 1


@dataclass(frozen=True)
class Minibatch(Training):
    """Mini-batch gradient descent: one update per batch_size training examples (the lecture's
    mini-batch style).
    """

    batch_size: int = integer(
        32,
        "examples per update; all of them if there are fewer; auto follows from the number of rows",
        at_least=1,
        literals=(AUTO,),
    )
    drop_last: bool = flag(False, "skip the last, smaller batch of an epoch")

    def portion(self, num_examples: int) -> int:
        if isinstance(self.batch_size, str):  # before the data is read
            return num_examples
        return min(self.batch_size, num_examples)


STYLES: dict[str, type[Training]] = {"batch": Batch, "sgd": Sgd, "minibatch": Minibatch}

MEMBER_OPTIONS = (
    *("epochs", "steps", "patience", "time_limit"),
    *("average", "average_decay", "average_start"),
)
"""Options in which members of a population may differ although they are no numbers that vary, or
that are kept for each member from the start.
"""
