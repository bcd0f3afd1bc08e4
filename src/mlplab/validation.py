"""How a configuration is validated: on splits that are held out once, or by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

from mlplab.errors import FieldError
from mlplab.schema import Component, integer


@dataclass(frozen=True)
class Validation(Component):
    """How a configuration is validated."""


@dataclass(frozen=True)
class Holdout(Validation):
    """The val and test splits of the dataset, drawn once."""


@dataclass(frozen=True)
class KFold(Validation):
    """Cross-validation: each row is in the test split of one fold. One network per fold, all
    trained as one population. Stratified by class; split by group if there are groups.
    """

    folds: int = integer(
        5, "folds of equal size, each the test split of one network", at_least=2, at_most=1000
    )
    repeats: int = integer(
        1, "how often the rows are assigned to folds anew", at_least=1, at_most=1000
    )
    fold: int | None = integer(
        None,
        "index of the one fold to train, below folds x repeats; null trains all of them",
        at_least=0,
        optional=True,
        varies=True,
    )

    def check(self) -> None:
        if isinstance(self.fold, int) and self.fold >= self.num_networks:
            raise FieldError(
                "fold",
                self.fold,
                f"is out of range: {self.folds} folds with {self.repeats} repeats have indices 0 to"
                f" {self.num_networks - 1}",
            )

    @property
    def num_networks(self) -> int:
        """The number of networks, one per fold of each repeat."""
        return self.folds * self.repeats


VALIDATIONS: dict[str, type[Validation]] = {"holdout": Holdout, "kfold": KFold}
