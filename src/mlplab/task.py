"""The task that a dataset defines: how many classes or values a network predicts."""

from __future__ import annotations

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
