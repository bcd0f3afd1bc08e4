"""Whether probabilities are as right as they claim: the reliability diagram and the expected
calibration error.

    ece = sum over bins b of n_b / n * |accuracy_b - confidence_b|      in [0, 1]

Confidence is the probability of the predicted class. Bins have equally many rows, since most rows
are confident. A calibrated network has an ece above 0, too: how large, labels say that are drawn
from its own predictions. Source: Guo et al. 2017; Bröcker and Smith, "Increasing the reliability of
reliability diagrams", 2007 (consistency resampling).

Shapes: N rows, C classes, B bins, R simulations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_BINS = 15
MIN_BIN_ROWS = 25
SIMULATIONS = 1000
MIN_SIMULATIONS = 200
MAX_DRAWS = 100_000_000
CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Reliability:
    """The bins, [B] each, from the least to the most confident: their numbers of rows, their mean
    confidence and accuracy, and the accuracies between which 95 of 100 calibrated networks lie.
    `ece_95` is the expected calibration error that 95 of 100 calibrated networks do not exceed.
    """

    rows: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    ece: float
    ece_95: float

    @property
    def is_calibrated(self) -> bool:
        """Whether the error is no larger than chance explains."""
        return self.ece <= self.ece_95

    def to_dict(self) -> dict[str, object]:
        """Return plain values for a JSON file."""
        columns = {"rows": self.rows, "confidence": self.confidence, "accuracy": self.accuracy}
        columns |= {"low": self.low, "high": self.high}
        cells = zip(*(column.tolist() for column in columns.values()), strict=True)
        return {
            "ece": self.ece,
            "ece_95": self.ece_95,
            "calibrated": self.is_calibrated,
            "bins": [dict(zip(columns, row, strict=True)) for row in cells],
        }


def reliability(probabilities_NC: np.ndarray, y_N: np.ndarray, seed: int = 0) -> Reliability:
    """Compare the confidence of predictions with their accuracy; y is int64 [N]."""
    confidence_N = probabilities_NC.max(1).astype(np.float64)
    hits_N = (probabilities_NC.argmax(1) == y_N).astype(np.float64)
    order = np.argsort(confidence_N, kind="stable")
    confidence_N, hits_N = confidence_N[order].clip(0, 1), hits_N[order]
    size = len(y_N)
    num_bins = max(1, min(MAX_BINS, size // MIN_BIN_ROWS))
    starts = np.arange(num_bins) * size // num_bins
    rows = np.diff(np.append(starts, size))
    confidence, accuracy = (
        np.add.reduceat(values_N, starts) / rows for values_N in (confidence_N, hits_N)
    )
    simulations = int(np.clip(MAX_DRAWS // size, MIN_SIMULATIONS, SIMULATIONS))
    rng, chunk = np.random.default_rng(seed), max(1, (1 << 22) // size)
    simulated = [
        np.add.reduceat(
            rng.random((min(chunk, simulations - start), size)) < confidence_N,
            starts,
            axis=1,
            dtype=np.float64,
        )
        / rows
        for start in range(0, simulations, chunk)
    ]
    accuracy_RB = np.concatenate(simulated)
    weights = rows / size
    errors_R = np.abs(accuracy_RB - confidence) @ weights
    margin = (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.quantile(accuracy_RB, [margin, 1 - margin], axis=0)
    return Reliability(
        rows,
        confidence,
        accuracy,
        low,
        high,
        float(np.abs(accuracy - confidence) @ weights),
        float(np.quantile(errors_R, CONFIDENCE_LEVEL)),
    )
