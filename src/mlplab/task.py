"""The task that a dataset defines: how many classes or values a network predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A classification task has `num_classes` >= 2; a regression task has `num_targets` >= 1."""

    kind: str  # "classification" or "regression"
    num_classes: int = 0
    num_targets: int = 1

    @property
    def classifies(self) -> bool:
        return self.kind == "classification"

    def __str__(self) -> str:
        return f"{self.num_classes} classes" if self.classifies else f"{self.num_targets} value(s)"


DOMINANT_SHARE, DOMINANT_RATIO = 0.6, 1.5
FLATTERY = 0.02


def majority_dominates(counts_C: Sequence[int]) -> bool:
    """Whether the largest class makes accuracy misleading, given the number of rows of each class:
    it has 60 % of the rows, or 1.5 times as many as if the (three or more) classes were of equal
    size. Then balanced_accuracy is shown beside accuracy.
    """
    share = max(counts_C) / max(1, sum(counts_C))
    return share >= min(DOMINANT_SHARE, DOMINANT_RATIO / len(counts_C))


def accuracy_flatters(accuracy: float | None, balanced_accuracy: float | None) -> bool:
    """Whether accuracy is so much above the mean accuracy of the classes that both are shown. This
    is for summaries, which do not have the sizes of the classes.
    """
    if accuracy is None or balanced_accuracy is None:
        return False
    return accuracy - balanced_accuracy > FLATTERY
