"""Base classes of losses: one number per example, and the output layer that the loss needs.

A loss never averages over examples. The caller reduces them, with example weights if there are any,
so the same call serves training, evaluation, weighting and any number of members.

Shapes: K members, B examples in the batch, N examples, C outputs or classes, T targets.
`predict` accepts any number of leading dimensions in place of K and B.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlplab.schema import Component, numbers
from mlplab.task import Task


@dataclass(frozen=True)
class Loss(Component):
    """The function that training minimizes."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """The kinds of task that the loss supports: "classification", "regression"."""
    derivative: ClassVar[str] = ""
    """The derivative by an output, in the symbols of the formula; empty if it is not written down.
    """
    reduction: ClassVar[str] = "mean"
    """How the caller reduces a batch: "mean" is sum w l / sum w, "sum" is sum w l."""
    original_units: ClassVar[bool] = False
    """True if the loss is only meaningful in the original units of the target, which is then not
    standardized.
    """
    target_range: ClassVar[str] = "any"
    """Allowed target values: "any", "non-negative" or "share" (from 0 to 1)."""

    predicts_deviation: ClassVar[bool] = False
    """Whether the outputs include the standard deviation of each value; see `deviation`."""

    @classmethod
    def facts(cls) -> dict[str, str]:
        return {"derivative by an output: ": cls.derivative}

    def incompatibility(self, task: Task) -> str | None:
        """Return why the loss does not fit the task ("needs ..., the dataset has ..."), or None."""
        if task.kind in self.tasks:
            return None
        return (
            f"needs {'classes' if 'classification' in self.tasks else 'values'} to predict, the"
            f" dataset has {task}"
        )

    def num_outputs(self, task: Task) -> int:
        """The number of units in the output layer."""
        raise NotImplementedError

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example, [K, B].

        Targets are int64 [K, B] for classes, and [K, B, T] in the dtype of the outputs for values.
        """
        raise NotImplementedError

    def decide(self, outputs_KBC: Tensor) -> Tensor:
        """The most probable class of each example, int64 [...].

        Agrees with `predict` without computing probabilities.
        """
        return (
            (outputs_KBC[..., 0] > 0).long()
            if outputs_KBC.shape[-1] == 1
            else outputs_KBC.argmax(-1)
        )

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        """Predictions from the outputs: class probabilities [..., classes] that sum to 1, or values
        [..., T].
        """
        raise NotImplementedError

    def deviation(self, outputs_KBC: Tensor) -> Tensor:
        """The standard deviations of the values, [..., T], if the loss `predicts_deviation`."""
        raise NotImplementedError

    def class_weights_C(self, targets_N: Tensor, num_classes: int) -> Tensor | None:
        """The weight of each class, float64 [C], or None if all examples count equally.

        The caller turns class weights into example weights.
        """
        return None


@dataclass(frozen=True)
class RegressionLoss(Loss):
    """A regression loss: one number per value, averaged over the targets."""

    tasks: ClassVar[tuple[str, ...]] = ("regression",)

    def num_outputs(self, task: Task) -> int:
        return task.num_targets

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        loss_KBT = self.per_value(outputs_KBC, targets)
        # A view is cheaper than the mean of one number.
        return loss_KBT.squeeze(-1) if loss_KBT.shape[-1] == 1 else loss_KBT.mean(-1)

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        """The loss of each value, [K, B, T]."""
        raise NotImplementedError

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        return outputs_KBC


@dataclass(frozen=True)
class ClassificationLoss(Loss):
    """A classification loss.

    Unless a subclass overrides it, there is one output per class and the prediction is their
    softmax.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    class_weights: list[float] | str | None = numbers(
        None,
        "weight of each class; balanced makes every class count equally, whatever its number of"
        " examples; null weights all examples equally",
        above=0,
        literals=("balanced",),
        optional=True,
    )

    def incompatibility(self, task: Task) -> str | None:
        reason = super().incompatibility(task)
        if (
            reason is None
            and isinstance(self.class_weights, (list, tuple))
            and len(self.class_weights) != task.num_classes
        ):
            return (
                f"needs one class weight per class (got {len(self.class_weights)}), the"
                f" dataset has {task}"
            )
        return reason

    def num_outputs(self, task: Task) -> int:
        return task.num_classes

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        return outputs_KBC.softmax(-1)

    def class_weights_C(self, targets_N: Tensor, num_classes: int) -> Tensor | None:
        """The weight of each class, float64 [C], or None if all examples count equally.

            balanced: weight_c = N / (C * count_c)      the mean weight of the N examples is then 1

        torch's weighted cross-entropy is sum w l / sum w with these weights. Source: King, Zeng
        2001. This is scikit-learn's "balanced", except for a class without training examples:
        scikit-learn raises an error, while here the class counts as if it had one example, so that
        its weight is finite on the other splits.
        """
        if self.class_weights is None:
            return None
        if isinstance(self.class_weights, str):
            count_C = torch.bincount(targets_N, minlength=num_classes).clamp(min=1).double()
            return targets_N.numel() / (num_classes * count_C)
        return torch.tensor(self.class_weights, dtype=torch.float64, device=targets_N.device)


def one_hot(targets_KB: Tensor, outputs_KBC: Tensor) -> Tensor:
    """1 at the target class and 0 elsewhere, [K, B, C] in the dtype of the outputs.

    Unlike F.one_hot, it does not synchronize with the device to read values.
    """
    classes_C = torch.arange(outputs_KBC.shape[-1], device=outputs_KBC.device)
    return (targets_KB.unsqueeze(-1) == classes_C).to(outputs_KBC.dtype)
