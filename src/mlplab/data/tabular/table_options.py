"""The options shared by all datasets that are read from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlplab.data.input_features import EXAMPLES
from mlplab.data.table import Dataset, check_names
from mlplab.data.tabular.number_formats import SEPARATORS
from mlplab.errors import FieldError
from mlplab.schema import anything, choice, flag, integer, text

SCALINGS = ("standard", "minmax", "robust", "robust_clip", "quantile", "normal", "none")
BY_RANK = ("quantile", "normal")
"""The scalings of which each column of numbers has its own, by the ranks of its values."""


@dataclass(frozen=True, kw_only=True)
class TabularDataset(Dataset):
    """A table whose columns are classified and checked before training."""

    task_kind: ClassVar[str] = ""  # unknown until the table is read

    target: str | Sequence[str] | None = anything(
        None, "column to predict, or a list of columns of numbers; null takes `y`, or the last one"
    )
    task: str = choice(
        "auto",
        ("auto", "classification", "regression"),
        "auto decides by the target: strings, booleans and few distinct integers are classes",
    )
    features: Sequence[str] | None = anything(
        None,
        "list of the inputs: columns, and what is computed from columns of numbers before scaling:"
        f" {EXAMPLES}; null takes all columns that have no other role",
    )
    ignore: Sequence[str] = anything([], "list of columns to leave out")
    categories: Sequence[str] = anything(
        [], "list of columns to treat as categories although they look like numbers or text"
    )
    numbers: Sequence[str] = anything(
        [], "list of columns to treat as numbers although they have leading zeros, like codes"
    )
    date_format: str | None = text(
        None,
        "how dates are written, such as %d/%m/%Y; null takes dates as in ISO 8601, 2020-05-13",
        optional=True,
    )
    thousands: str | None = text(
        None,
        "separator of thousands: a comma, a point, a space or an apostrophe; null detects it for"
        " each column, as well as currencies, percent signs and parentheses; none allows none",
        optional=True,
    )
    encode: str = choice(
        "onehot",
        ("onehot", "ordinal", "embed", "auto"),
        "one feature per category (onehot), one number (ordinal), or a vector that the network"
        " learns for each category (embed); auto is onehot up to max_onehot categories, else embed;"
        " a category that training did not see is encoded as the mean of those that it saw",
    )
    max_onehot: int = integer(
        9, "encode=auto: the most categories with one feature each", at_least=1
    )
    embedding_size: int = integer(
        8, "encode=embed and auto: the length of the learned vector of a category", at_least=1
    )
    min_frequency: int | None = integer(
        None,
        "categories in fewer train rows than this are one, (other), which also stands for those"
        " that training did not see; null keeps all",
        at_least=1,
        optional=True,
    )
    missing: str = choice(
        "refuse",
        ("refuse", "impute", "drop"),
        "empty cells: refuse is an error, impute fills in the median and adds an indicator feature,"
        " drop leaves the rows out; impute leaves out rows without a target",
    )
    split_column: str | None = text(
        None, "column whose cells are train, val or test", optional=True
    )
    group_column: str | None = text(
        None, "column of groups; rows of a group stay in one split", optional=True
    )
    time_column: str | None = text(
        None,
        "column to sort by: the latest rows are for testing, those before them for validation",
        optional=True,
    )
    weight_column: str | None = text(
        None, "column with the weight of each row in training", optional=True
    )
    id_column: str | None = text(
        None, "column that identifies rows; not a feature, but copied to predictions", optional=True
    )
    scaling: str = choice(
        "standard",
        SCALINGS,
        "numbers to mean 0 and deviation 1 (standard), to [0, 1] (minmax), by median and quartiles"
        " (robust), the same with outliers drawn in to +-3 (robust_clip), by rank (quantile), by"
        " rank to a normal distribution (normal), or unchanged (none); measured on the train split",
    )
    report: bool = flag(True, "write data_report.md to the run folder")

    def check(self) -> None:
        super().check()
        for key in ("ignore", "categories", "numbers"):
            check_names(key, getattr(self, key))
        if self.thousands not in (None, "none", *SEPARATORS):
            raise FieldError(
                "thousands", self.thousands, "is none of null, none, ',', '.', ' ' and \"'\""
            )
        named = [self.target] if isinstance(self.target, str) else self.target
        if named is not None and not (
            isinstance(named, (list, tuple))
            and named
            and all(isinstance(name, str) for name in named)
        ):
            raise FieldError(
                "target",
                self.target,
                "is neither the name of a column nor a list of such names; a name that looks like a"
                " number needs quotes",
            )
        split_keys = [
            key for key in ("split_column", "group_column", "time_column") if getattr(self, key)
        ]
        if len(split_keys) > 1:
            raise FieldError(
                split_keys[1],
                getattr(self, split_keys[1]),
                f"and {split_keys[0]} = {getattr(self, split_keys[0])!r} cannot both determine the"
                " split",
            )

    @property
    def markers(self) -> Sequence[str]:
        """The strings that count as a missing cell."""
        return ()

    @property
    def column_markers(self) -> Mapping[str, tuple[str, ...]]:
        """Further strings that count as a missing cell in a column, by its name."""
        return {}

    @property
    def targets(self) -> Sequence[str] | None:
        """The configured target columns; None if there are none."""
        return (
            None
            if self.target is None
            else [self.target]
            if isinstance(self.target, str)
            else list(self.target)
        )
