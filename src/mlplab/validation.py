"""How a configuration is judged: on parts of the data that are held out once, or on each of several
folds in turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlplab.errors import FieldError
from mlplab.schema import Component, integer


@dataclass(frozen=True)
class Validation(Component):
    """How a configuration is judged."""

    @property
    def parts(self) -> int:
        """How many networks one judgment takes."""
        return 1

    @property
    def number(self) -> int | None:
        """Which of them this is; None where it is all of them."""
        return 0


@dataclass(frozen=True)
class Holdout(Validation):
    """The parts val and test of the data set, drawn once."""


@dataclass(frozen=True)
class KFold(Validation):
    """Cross-validation: every row is in the test part of one fold; a network a fold, all trained as
    one. Stratified by class, by group where there are groups.
    """

    folds: int = integer(
        5, "parts of equal size, each the test part of one network", at_least=2, at_most=1000
    )
    repeats: int = integer(1, "how often the rows are dealt anew", at_least=1, at_most=1000)
    fold: int | None = integer(
        None,
        "one of the folds x repeats alone, from 0; null trains them all",
        at_least=0,
        optional=True,
        varies=True,
    )

    def check(self) -> None:
        if isinstance(self.fold, int) and self.fold >= self.parts:
            raise FieldError(
                "fold",
                self.fold,
                f"is out of range: {self.folds} folds, {self.repeats} times, are the numbers 0 to"
                f" {self.parts - 1}",
            )

    @property
    def parts(self) -> int:
        return self.folds * self.repeats

    @property
    def number(self) -> int | None:
        return self.fold


VALIDATIONS: dict[str, type[Validation]] = {"holdout": Holdout, "kfold": KFold}
