"""Scalers, which bring features and targets to a common scale. Shapes: N examples, F columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlplab.data.table import Floats
from mlplab.errors import DataError

CLIP = 3.0
"""The bound of smooth clipping, in robust scales."""
MAX_SHARE = 1 - 1e-12
"""Of the bound, up to which clipping is undone: at the bound itself values were infinite."""


@dataclass(frozen=True, eq=False)
class Scaler:
    """The map z = (values - shift) / scale, column by column, then smooth clipping to +-clip:

        z / sqrt(1 + (z / clip)^2)

    shift and scale are float64 [F], and every scale is nonzero. clip is float64 [F], infinite for a
    column that is not clipped; None clips none. Source of the clipping: Holzmueller et al. 2024,
    "Better by Default" (RealMLP).
    """

    shift: Floats
    scale: Floats
    clip: Floats | None = None

    def apply(self, values_NF: Floats) -> Floats:
        """Return the values [..., F] in the network's units."""
        scaled_NF = (values_NF - self.shift) / self.scale
        self.clip_smoothly_inplace(scaled_NF)
        return scaled_NF

    def clip_smoothly_inplace(self, scaled_NF: Floats) -> None:
        """Clip values smoothly that are shifted and scaled already; nothing without `clip`."""
        if self.clip is not None:
            scaled_NF /= np.hypot(1.0, scaled_NF / self.clip)

    def invert(self, values_NF: Floats) -> Floats:
        """Return the values [..., F] in the data's units: the inverse of `apply`."""
        if self.clip is not None:
            share_NF = np.clip(values_NF / self.clip, -MAX_SHARE, MAX_SHARE)
            values_NF = values_NF / np.sqrt((1 - share_NF) * (1 + share_NF))
        return values_NF * self.scale + self.shift

    def to_dict(self) -> dict[str, list[float] | list[float | None]]:
        """Return plain lists for a JSON file, without loss of precision; null is no clipping."""
        stored: dict[str, list[float] | list[float | None]] = {
            "shift": self.shift.tolist(),
            "scale": self.scale.tolist(),
        }
        if self.clip is not None:
            stored["clip"] = [c if np.isfinite(c) else None for c in self.clip.tolist()]
        return stored

    @staticmethod
    def from_dict(lists: dict[str, list[float]]) -> Scaler:
        """Return the scaler that `to_dict` described."""
        shift_F, scale_F = (np.array(lists[key], dtype=np.float64) for key in ("shift", "scale"))
        if "clip" not in lists:
            return Scaler(shift_F, scale_F)
        limits = [np.inf if limit is None else limit for limit in lists["clip"]]
        return Scaler(shift_F, scale_F, np.array(limits, dtype=np.float64))


def identity(num_columns: int) -> Scaler:
    """Return the scaler that changes nothing."""
    return Scaler(np.zeros(num_columns), np.ones(num_columns))


def fit_scaler(values_NF: Floats, how: str, noun: str) -> Scaler:
    """Return the scaler measured on the columns of values_NF, float64 [N, F].

    A constant column is mapped to 0.

    Args:
        values_NF: the values to measure.
        how: standard (mean 0 and standard deviation 1, dividing by N as scikit-learn does), minmax
            (to [0, 1]), robust (median 0 and quartiles 1 apart), robust_clip (as robust, then
            smooth clipping to +-3) or none.
        noun: what a column is called in an error message: feature or target.

    Raises:
        DataError: if a column spans more than a float64 can represent.
    """
    if how == "none":
        return identity(values_NF.shape[1])
    low_F, high_F = _extremes(values_NF)
    with np.errstate(over="ignore", invalid="ignore"):
        shift_F, scale_F = _shift_and_scale(values_NF, how, low_F, high_F)
    # The mean of equal numbers may differ from them by a rounding error, which must not be scaled
    # up to deviation 1.
    constant_F = (low_F == high_F) | (scale_F == 0)
    if not (constant_F | np.isfinite(shift_F) & np.isfinite(scale_F)).all():
        raise DataError(
            f"A {noun} spans more than a float64 can represent, so it cannot be scaled. Rescale"
            " the data, or turn scaling off."
        )
    return Scaler(
        np.where(constant_F, low_F, shift_F),
        np.where(constant_F, 1.0, scale_F),
        np.full(len(low_F), CLIP) if how == "robust_clip" else None,
    )


NARROW = 8
"""Columns below which NumPy is faster along the rows of a transposed copy."""


def _extremes(values_NF: Floats) -> tuple[Floats, Floats]:
    """Return the minimum and the maximum of each column."""
    if values_NF.shape[1] < NARROW:
        values_FN = np.ascontiguousarray(values_NF.T)
        return values_FN.min(1), values_FN.max(1)
    return values_NF.min(0), values_NF.max(0)


def _shift_and_scale(
    values_NF: Floats, how: str, low_F: Floats, high_F: Floats
) -> tuple[Floats, Floats]:
    """Return shift and scale of each column. The range replaces quartiles that are equal, and half
    of it for robust_clip, as RealMLP has it.
    """
    if how == "standard":
        # as mean and std of NumPy compute them, with one mean for both
        mean_F = np.add.reduce(values_NF, 0) / len(values_NF)
        centered_NF = values_NF - mean_F
        centered_NF *= centered_NF
        return mean_F, np.sqrt(np.add.reduce(centered_NF, 0) / len(values_NF))
    if how in ("robust", "robust_clip"):
        first_F, median_F, third_F = np.quantile(values_NF, [0.25, 0.5, 0.75], axis=0)
        span_F = (high_F - low_F) / (2 if how == "robust_clip" else 1)
        return median_F, np.where(third_F > first_F, third_F - first_F, span_F)
    return low_F, high_F - low_F
