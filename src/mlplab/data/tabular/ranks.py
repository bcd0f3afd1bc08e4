"""Numbers scaled by rank: interpolated between the quantiles of the train rows.

Shapes: N rows, Q quantiles.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from mlplab.data.table import Floats


def rank_values(num_quantiles: int, normal: bool) -> Floats:
    """Return what the quantiles become, [Q]: their ranks, evenly from 0 to 1, or the normal
    quantiles of these ranks, where the first and the last rank count as half a step inside.
    """
    ranks_Q = np.linspace(0, 1, num_quantiles)
    if not normal:
        return ranks_Q
    half = 0.5 / num_quantiles
    return np.array([NormalDist().inv_cdf(rank) for rank in ranks_Q.clip(half, 1 - half)])


def by_rank(values_N: Floats, quantiles_Q: Floats, results_Q: Floats) -> Floats:
    """Return what the values become, interpolated linearly between the quantiles.

    Equal quantiles give the middle of theirs, as in scikit-learn's QuantileTransformer.
    """
    upper_N = np.interp(values_N, quantiles_Q, results_Q)
    lower_N = np.interp(-values_N, -quantiles_Q[::-1], -results_Q[::-1])
    return np.asarray(0.5 * (upper_N - lower_N))
