"""Margin losses: hinge and squared hinge, with one score for two classes and C scores for more.

z are the scores, m is the margin. With two classes, y = -1 for class 0 and 1 for class 1, and the
shortfall is max(0, m - y z). With more classes it depends on the field `multiclass`:

    crammer_singer:  max(0, m + max_{j != y} z_j - z_y)      one shortfall, to the strongest rival
                                                             (Crammer, Singer 2001)
    one_vs_rest:     max(0, m - s_c z_c) for each class c    s_c = 1 if c = y, else -1; the losses
                                                             of the C classes are summed

Scores are not log-odds: the predicted probabilities (sigmoid or softmax of the scores) have the
right order but are not calibrated. Frameworks differ: Keras' categorical_hinge is crammer_singer;
torch's multi_margin_loss sums over all rivals and divides by C (Weston, Watkins 1999);
scikit-learn's LinearSVC uses one_vs_rest with squared hinge by default, and offers crammer_singer.

Shapes: K members, B examples in the batch, C scores, X shortfalls of an example (1 or C).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mlplab.losses.base import ClassificationLoss, one_hot
from mlplab.losses.classification import binary_probabilities
from mlplab.schema import Number, choice, number
from mlplab.stacking import fit
from mlplab.task import Task


@dataclass(frozen=True)
class MarginLoss(ClassificationLoss):
    """Base class of the margin losses."""

    margin: Number = number(1.0, "margin by which the score of the true class must lead", above=0)
    multiclass: str = choice(
        "crammer_singer",
        ("crammer_singer", "one_vs_rest"),
        "how the scores of more than two classes are compared",
    )

    def num_outputs(self, task: Task) -> int:
        return 1 if task.num_classes == 2 else task.num_classes

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        """Uncalibrated probabilities: sigmoid of a single score, or softmax of several."""
        return (
            binary_probabilities(outputs_KBC)
            if outputs_KBC.shape[-1] == 1
            else outputs_KBC.softmax(-1)
        )

    def shortfall(self, scores_KBC: Tensor, targets_KB: Tensor) -> Tensor:
        """The amount by which each margin is missed, [K, B, X], at least 0."""
        if scores_KBC.shape[-1] == 1:
            lead_KBX = scores_KBC * (targets_KB.unsqueeze(-1) * 2 - 1)
        elif self.multiclass == "one_vs_rest":
            lead_KBX = scores_KBC * (one_hot(targets_KB, scores_KBC) * 2 - 1)
        else:
            index_KB1 = targets_KB.unsqueeze(-1)
            rival_KB1 = scores_KBC.scatter(-1, index_KB1, -math.inf).amax(-1, keepdim=True)
            lead_KBX = scores_KBC.gather(-1, index_KB1) - rival_KB1
        return (fit(self.margin, lead_KBX) - lead_KBX).relu()


@dataclass(frozen=True)
class Hinge(MarginLoss):
    """Hinge loss: linear in the amount by which the margin is missed, 0 beyond the margin.

        shortfall, summed over classes for one_vs_rest      in [0, inf)

    The loss of the support vector machine, mentioned in the lecture. The gradient at the margin
    itself is 0.
    """

    derivative: ClassVar[str] = "-y if y z < m, 0 beyond (two classes)"

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        return self.shortfall(outputs_KBC, targets).sum(-1)


@dataclass(frozen=True)
class SquaredHinge(MarginLoss):
    """Squared hinge loss: smooth at the margin, and penalizes large misses more.

        shortfall^2, summed over classes for one_vs_rest      in [0, inf)

    The default loss of scikit-learn's LinearSVC.
    """

    derivative: ClassVar[str] = "-2 y max(0, m - y z) (two classes)"

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        return self.shortfall(outputs_KBC, targets).square().sum(-1)
