"""Features and targets brought to a common scale. Shapes: N examples, F columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlplab.data.table import Floats
from mlplab.errors import DataError


@dataclass(frozen=True, eq=False)
class Scaler:
    """(values - shift) / scale, column by column. shift and scale are float64 [F]; no scale is
    0.
    """

    shift: Floats
    scale: Floats

    def apply(self, values_NF: Floats) -> Floats:
        """From the data's units to the network's; any shape [..., F]."""
        return (values_NF - self.shift) / self.scale

    def invert(self, values_NF: Floats) -> Floats:
        """From the network's units back to the data's; any shape [..., F]."""
        return values_NF * self.scale + self.shift

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, for a file; exact."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}

    @staticmethod
    def from_dict(lists: dict[str, list[float]]) -> Scaler:
        """The inverse of `to_dict`."""
        return Scaler(
            np.array(lists["shift"], dtype=np.float64), np.array(lists["scale"], dtype=np.float64)
        )


def identity(num_columns: int) -> Scaler:
    """The scaler that changes nothing."""
    return Scaler(np.zeros(num_columns), np.ones(num_columns))


def fit_scaler(values_NF: Floats, how: str, noun: str) -> Scaler:
    """standard: mean 0, deviation 1 (divided by N, as scikit-learn does); minmax: to [0, 1];
    robust: median 0, quartiles 1 apart; none.

    A constant column becomes 0.
    """
    if how == "none":
        return identity(values_NF.shape[1])
    low_F, high_F = values_NF.min(0), values_NF.max(0)
    with np.errstate(over="ignore", invalid="ignore"):
        shift_F, scale_F = _measured(values_NF, how, low_F, high_F)
    # The mean of equal numbers may miss them by a rounding error, which must not be blown up to
    # deviation 1.
    constant_F = (low_F == high_F) | (scale_F == 0)
    if not (constant_F | np.isfinite(shift_F) & np.isfinite(scale_F)).all():
        raise DataError(
            f"A {noun} spans more than a float64 can measure, so it cannot be scaled. Rescale the"
            " data, or turn scaling off."
        )
    return Scaler(np.where(constant_F, low_F, shift_F), np.where(constant_F, 1.0, scale_F))


def _measured(values_NF: Floats, how: str, low_F: Floats, high_F: Floats) -> tuple[Floats, Floats]:
    """Shift and scale of each column; quartiles that are equal say nothing, and the range stands in
    for them.
    """
    if how == "standard":
        return values_NF.mean(0), values_NF.std(0)
    if how == "robust":
        first_F, middle_F, third_F = np.quantile(values_NF, [0.25, 0.5, 0.75], axis=0)
        return middle_F, np.where(third_F > first_F, third_F - first_F, high_F - low_F)
    return low_F, high_F - low_F
