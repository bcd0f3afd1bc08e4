"""The options that every dataset read from a table shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mlplab.data.table import Dataset
from mlplab.errors import FieldError
from mlplab.schema import anything, choice, flag, text

if TYPE_CHECKING:
    pass


SCALINGS = ("standard", "minmax", "robust", "quantile", "none")


@dataclass(frozen=True, kw_only=True)
class TabularDataset(Dataset):
    """A table whose columns are looked at before they are learnt from."""

    task_kind: ClassVar[str] = ""  # known when the table is read

    target: Any = anything(
        None, "column to predict, or a list of columns of numbers; null takes `y`, or the last one"
    )
    task: str = choice(
        "auto",
        ("auto", "classification", "regression"),
        "auto decides by the target: words, truth values and few whole numbers are classes",
    )
    features: Any = anything(None, "list of the columns to learn from; null takes all others")
    ignore: Any = anything([], "list of columns to leave out")
    categories: Any = anything(
        [], "list of columns that are categories though they look like numbers or text"
    )
    encode: str = choice(
        "onehot",
        ("onehot", "ordinal"),
        "categories as a feature each, or as one number; unknown ones have a place of their own",
    )
    missing: str = choice(
        "refuse",
        ("refuse", "impute", "drop"),
        "empty cells: an error; the median with a feature that says so; leave the rows out",
    )
    split_column: str | None = text(None, "column that says train, val or test", optional=True)
    group_column: str | None = text(
        None, "column whose rows of one value stay together in one part", optional=True
    )
    time_column: str | None = text(
        None,
        "column to sort by: the latest rows are the test, those before validate",
        optional=True,
    )
    weight_column: str | None = text(
        None, "column that says how much a row counts in training", optional=True
    )
    id_column: str | None = text(
        None, "column that names a row; not learnt from, repeated beside predictions", optional=True
    )
    scaling: str = choice(
        "standard",
        SCALINGS,
        "numbers to mean 0 and deviation 1, to [0, 1], by median and quartiles, by rank, or as they"
        " are; measured on the train part",
    )
    report: bool = flag(True, "write data_report.md into the folder of the run")

    def check(self) -> None:
        super().check()
        for key in ("features", "ignore", "categories"):
            value = getattr(self, key)
            if value is not None and not (
                isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)
            ):
                raise FieldError(key, value, "is not a list of column names")
        named = [self.target] if isinstance(self.target, str) else self.target
        if named is not None and not (
            isinstance(named, (list, tuple))
            and named
            and all(isinstance(name, str) for name in named)
        ):
            raise FieldError(
                "target", self.target, "is neither the name of a column nor a list of such names"
            )
        chosen = [
            key for key in ("split_column", "group_column", "time_column") if getattr(self, key)
        ]
        if len(chosen) > 1:
            raise FieldError(
                chosen[1],
                getattr(self, chosen[1]),
                f"and {chosen[0]} = {getattr(self, chosen[0])!r} cannot both decide the split",
            )

    @property
    def targets(self) -> Sequence[str] | None:
        """The target columns that were named."""
        return (
            None
            if self.target is None
            else [self.target]
            if isinstance(self.target, str)
            else list(self.target)
        )

    def aiming(self, target: str) -> Self:
        """The same with this target."""
        return replace(self, target=target)
