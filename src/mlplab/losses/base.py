"""What a loss is: one number per example, and the output layer that it asks for.

A loss never averages over examples: the caller joins them, with example weights where it has some,
so the same call serves training, evaluation, weighting and any number of members.

Shapes: K members, B examples of the batch, N examples, C outputs or classes, T targets.
KB are leading dimensions that `predict` takes in any number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlplab.schema import Component, numbers
from mlplab.task import Task


@dataclass(frozen=True)
class Loss(Component):
    """What training makes small."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """The kinds of task it serves: "classification", "regression"."""
    reduction: ClassVar[str] = "mean"
    """How the caller joins the examples of a batch: "mean" is sum w l / sum w, "sum" is sum w l."""
    own_units: ClassVar[bool] = False
    """True where the loss means something only in the target's own units: the target is then not
    standardized.
    """
    target_range: ClassVar[str] = "any"
    """The values that a target may have: "any", "non-negative" or "share" (from 0 to 1)."""

    def incompatibility(self, task: Task) -> str | None:
        """Why this loss does not serve the task, as "needs ..., the dataset has ..."; None where it
        does.
        """
        if task.kind in self.tasks:
            return None
        return (
            f"needs {'classes' if 'classification' in self.tasks else 'values'} to predict, the"
            f" dataset has {task}"
        )

    def num_outputs(self, task: Task) -> int:
        """Units of the output layer."""
        raise NotImplementedError

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example [K, B]. Targets are int64 [K, B] for classes, and of the
        outputs' dtype [K, B, T] for values.
        """
        raise NotImplementedError

    def decide(self, outputs_KBC: Tensor) -> Tensor:
        """The most probable class of each example, int64 [...]: what `predict` says, without
        computing probabilities.
        """
        return (
            (outputs_KBC[..., 0] > 0).long()
            if outputs_KBC.shape[-1] == 1
            else outputs_KBC.argmax(-1)
        )

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        """What the outputs say: class probabilities [..., classes] that sum to 1, or values [...,
        T].
        """
        raise NotImplementedError

    def class_weights_C(self, targets_N: Tensor, num_classes: int) -> Tensor | None:
        """The weight of each class, float64, or None where all examples count alike. The caller
        makes example weights of it.
        """
        return None


@dataclass(frozen=True)
class RegressionLoss(Loss):
    """A loss of values: the mean over the targets of one number per value."""

    tasks: ClassVar[tuple[str, ...]] = ("regression",)

    def num_outputs(self, task: Task) -> int:
        return task.num_targets

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        loss_KBT = self.per_value(outputs_KBC, targets)
        # a view is cheaper than a mean of one
        return loss_KBT.squeeze(-1) if loss_KBT.shape[-1] == 1 else loss_KBT.mean(-1)

    def per_value(self, outputs_KBC: Tensor, targets_KBT: Tensor) -> Tensor:
        """The loss of each value [K, B, T]."""
        raise NotImplementedError

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        return outputs_KBC


@dataclass(frozen=True)
class ClassificationLoss(Loss):
    """A loss of classes: one output for each class, of which the softmax is the prediction, unless
    a subclass says otherwise.
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    class_weights: list[float] | str | None = numbers(
        None,
        "weight of each class; balanced makes every class count alike, whatever its number of"
        " examples; null weighs no class",
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
                f"needs one class weight for each class ({len(self.class_weights)} given), the"
                f" dataset has {task}"
            )
        return reason

    def num_outputs(self, task: Task) -> int:
        return task.num_classes

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        return outputs_KBC.softmax(-1)

    def class_weights_C(self, targets_N: Tensor, num_classes: int) -> Tensor | None:
        """The weight of each class, float64 [C], or None.

            balanced: weight_c = N / (C * count_c)      the mean weight of the N examples is then 1

        torch's weighted cross-entropy is sum w l / sum w of these. Source: King, Zeng 2001; the
        same as scikit-learn's "balanced", except that a class without examples, where scikit-learn
        raises, counts as if it had one, and so stays finite on the other parts.
        """
        if self.class_weights is None:
            return None
        if isinstance(self.class_weights, str):
            count_C = torch.bincount(targets_N, minlength=num_classes).clamp(min=1).double()
            return targets_N.numel() / (num_classes * count_C)
        return torch.tensor(self.class_weights, dtype=torch.float64, device=targets_N.device)


def one_hot(targets_KB: Tensor, outputs_KBC: Tensor) -> Tensor:
    """1 at the target class and 0 elsewhere, [K, B, C] in the dtype of the outputs. Unlike
    F.one_hot it does not read values back.
    """
    classes_C = torch.arange(outputs_KBC.shape[-1], device=outputs_KBC.device)
    return (targets_KB.unsqueeze(-1) == classes_C).to(outputs_KBC.dtype)
