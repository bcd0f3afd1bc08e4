"""The loss that is selected by the task."""

from dataclasses import dataclass
from typing import ClassVar

from mlplab.losses.base import Loss
from mlplab.losses.classification import CrossEntropy
from mlplab.losses.regression import Mse
from mlplab.task import Task


@dataclass(frozen=True)
class Auto(Loss):
    """Cross-entropy for classes, mean squared error for values.

    `resolve` returns the actual loss once the task is known; calling this one, or its `predict`,
    raises NotImplementedError.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")

    def resolve(self, task: Task) -> Loss:
        """The loss for the task, with its default parameters."""
        return CrossEntropy() if task.classifies else Mse()

    def num_outputs(self, task: Task) -> int:
        return self.resolve(task).num_outputs(task)


def resolve_auto_loss(loss: Loss, task: Task) -> Loss:
    """The loss to train with: `auto` is resolved, any other loss is returned unchanged."""
    return loss.resolve(task) if isinstance(loss, Auto) else loss
