"""Greedy selection of an ensemble with replacement, in bags of candidates.

Source: Caruana, Niculescu-Mizil, Crew and Ksikes, Ensemble Selection from Libraries of Models,
ICML 2004. Shapes: M candidates, N rows, C classes or targets.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MAX_SIZE = 32
"""Candidates in a bag's ensemble, repetitions included."""
NUM_BAGS = 8
BAG_SHARE = 0.5
"""The share of the candidates in each bag."""

MIN_SIZE = 4
"""Different candidates that each bag's ensemble has at least."""

SHRINKAGE = 200
"""The validation rows at which the selection counts as much as equal weights."""

Score = Callable[[np.ndarray], np.ndarray]
"""The score of predictions [M, N, C], lower is better: [M]."""


def greedy(
    scores_MNC: np.ndarray, score: Score, max_size: int = MAX_SIZE, min_size: int = 0
) -> np.ndarray:
    """Return how often each candidate is in the ensemble, int64 [M].

    At each size the candidate is added, possibly again, whose addition gives the best mean; the
    ensemble is that of the best size. The first `min_size` are the best candidates by themselves,
    each once. Equal scores take the first candidate and the smallest size.
    """
    individual_M = np.nan_to_num(score(scores_MNC), nan=np.inf)
    chosen = np.argsort(individual_M, kind="stable")[:min_size].tolist()
    total_NC = scores_MNC[chosen].sum(0)
    best_score, best_size = np.inf, len(chosen) or 1
    for size in range(len(chosen) + 1, max_size + 1):
        values_M = score((total_NC + scores_MNC) / size)
        values_M = np.where(np.isnan(values_M), np.inf, values_M)
        index = int(values_M.argmin())
        chosen.append(index)
        total_NC = total_NC + scores_MNC[index]
        if values_M[index] < best_score:
            best_score, best_size = float(values_M[index]), size
    return np.bincount(chosen[:best_size], minlength=len(scores_MNC))


def bagged(
    scores_MNC: np.ndarray,
    score: Score,
    seed: int,
    num_members: int | None = None,
    bags: int = NUM_BAGS,
) -> np.ndarray:
    """Return the weight of each candidate, float64 [M]: the mean over bags, each a random half of
    the candidates with a greedy ensemble of its own, shrunk towards equal weights of the better
    half of the members, whose latest candidates are the first `num_members` (None: all):

        weight = n / (n + SHRINKAGE) * bags + SHRINKAGE / (n + SHRINKAGE) * equal

    for n rows. Both limit how closely the weights fit a small validation split (bags: Caruana et
    al. 2004, 2.3).
    """
    num = len(scores_MNC)
    size = max(1, round(BAG_SHARE * num))
    weights_M = np.zeros(num)
    for bag in range(bags):
        rng = np.random.default_rng([seed, bag])
        indices = np.sort(rng.permutation(num)[:size])
        counts = greedy(scores_MNC[indices], score, min_size=MIN_SIZE)
        weights_M[indices] += counts / counts.sum() / bags
    individual_M = np.nan_to_num(score(scores_MNC[:num_members]), nan=np.inf)
    better = np.argsort(individual_M, kind="stable")[: max(1, len(individual_M) // 2)]
    share = scores_MNC.shape[1] / (scores_MNC.shape[1] + SHRINKAGE)
    weights_M *= share
    weights_M[better] += (1 - share) / len(better)
    return weights_M
