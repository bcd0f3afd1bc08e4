"""Classification losses on probabilities: cross-entropy, its relatives and squared distances.

z are the outputs, p = softmax(z), y is the target class. All log-probabilities are computed with
log-softmax, never as log(softmax).

Shapes: K members, B examples in the batch, C classes (the binary losses have a single output).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mlplab.losses.base import ClassificationLoss, one_hot
from mlplab.schema import Number, number
from mlplab.stacking import active, fit
from mlplab.task import Task

# Above this number of rows, torch's softmax over few classes is faster with the classes in the
# middle dimension, where it vectorizes over the examples (2.5 times faster with 256 members,
# batches of 32 and 2 classes). Below it, the transposition costs more than it saves.
_MIN_TRANSPOSED_ROWS = 1024


def cross_entropy_KB(logits_KBC: Tensor, targets_KB: Tensor, smoothing: Number = 0.0) -> Tensor:
    """Cross-entropy with label smoothing, one loss per example [K, B].

    The target distribution is (1 - smoothing) * onehot + smoothing / C. A float smoothing uses
    torch's function; a [K, 1] tensor uses the same formula written out.
    """
    if not isinstance(smoothing, Tensor):
        if targets_KB.numel() > _MIN_TRANSPOSED_ROWS:
            return F.cross_entropy(
                logits_KBC.transpose(1, 2), targets_KB, reduction="none", label_smoothing=smoothing
            )
        return F.cross_entropy(
            logits_KBC.flatten(0, 1),
            targets_KB.flatten(),
            reduction="none",
            label_smoothing=smoothing,
        ).view(targets_KB.shape)
    log_p_KBC = logits_KBC.log_softmax(-1)
    hard_KB = F.nll_loss(log_p_KBC.flatten(0, 1), targets_KB.flatten(), reduction="none").view(
        targets_KB.shape
    )
    # The same order of operations as in torch, for bit-identical results.
    return fit(1 - smoothing, hard_KB) * hard_KB + -log_p_KBC.sum(-1) * fit(
        smoothing / logits_KBC.shape[-1], hard_KB
    )


@dataclass(frozen=True)
class CrossEntropy(ClassificationLoss):
    """Cross-entropy of the softmax of the outputs (logits), averaged over the examples.

        - sum_c q_c log p_c,      q = (1 - s) * onehot(y) + s / C      in [0, inf)

    s is the label smoothing of Szegedy et al. 2016. This is torch's cross_entropy; with class
    weights the mean becomes sum w l / sum w. torch weights each term of the smoothing sum by its
    class c; here a weight applies to the whole example.
    """

    label_smoothing: Number = number(
        0.0, "fraction of the target spread evenly over all classes", at_least=0, below=1
    )

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy_KB(outputs_KBC, targets, self.label_smoothing)


@dataclass(frozen=True)
class Nll(ClassificationLoss):
    """Negative log-likelihood, summed over the examples as in the lecture.

        - z_y + log sum_j exp(z_j)      in [0, inf);      over n examples the sum, not the mean

    The gradient grows with the batch: the same learning rate takes steps batch_size times as large
    as with cross_entropy. The outputs are logits; torch's nll_loss expects log-probabilities.
    """

    reduction: ClassVar[str] = "sum"

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy_KB(outputs_KBC, targets)


@dataclass(frozen=True)
class BinaryLoss(ClassificationLoss):
    """A loss of two classes with one output, which is positive where class 1 is more probable."""

    def incompatibility(self, task: Task) -> str | None:
        return super().incompatibility(task) or (
            None
            if task.num_classes == 2
            else f"needs 2 classes, the dataset has {task.num_classes}"
        )

    def num_outputs(self, task: Task) -> int:
        return 1


@dataclass(frozen=True)
class Bce(BinaryLoss):
    """Binary cross-entropy for two classes with one output, the logit of class 1.

        - w y log p - (1 - y) log(1 - p),      p = sigmoid(z), y in {0, 1}      in [0, inf)

    w is pos_weight. This is torch's binary_cross_entropy_with_logits, and equals cross_entropy of
    the two logits (0, z).
    """

    pos_weight: Number = number(1.0, "weight of the examples of class 1", above=0)

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        logits_KB, targets_KB = outputs_KBC.squeeze(-1), targets.to(outputs_KBC.dtype)
        weight = None
        if isinstance(self.pos_weight, Tensor) or self.pos_weight != 1:
            weight = torch.as_tensor(
                fit(self.pos_weight, logits_KB), dtype=logits_KB.dtype, device=logits_KB.device
            )
        return F.binary_cross_entropy_with_logits(
            logits_KB, targets_KB, reduction="none", pos_weight=weight
        )

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        return binary_probabilities(outputs_KBC)


def binary_probabilities(logits_KB1: Tensor) -> Tensor:
    """Probabilities (1 - p, p) of two classes from one logit, [K, B, 2].

    Computed as two sigmoids, so that neither loses digits near 1.
    """
    return torch.cat((-logits_KB1, logits_KB1), -1).sigmoid()


@dataclass(frozen=True)
class TanhHalfMse(BinaryLoss):
    """Half the squared error of a tanh output, for two classes coded as -1 and 1.

        (tanh(z) - y)^2 / 2,      y in {-1, 1}      in [0, 2]

    The loss of the TensorFlow Playground, whose output unit has the activation tanh. The predicted
    probability of class 1 is (1 + tanh(z)) / 2 = sigmoid(2 z): the output, moved from [-1, 1] to
    [0, 1]. The gradient by z is (tanh(z) - y) (1 - tanh(z)^2): it vanishes where the output is
    confident, even if it is wrong, while that of cross-entropy does not.
    """

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        value_KB = outputs_KBC.squeeze(-1).tanh()
        signs_KB = targets.to(outputs_KBC.dtype) * 2 - 1
        return F.mse_loss(value_KB, signs_KB, reduction="none") * 0.5

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        return binary_probabilities(outputs_KBC * 2)


@dataclass(frozen=True)
class Focal(ClassificationLoss):
    """Focal loss: cross-entropy in which well-classified examples count less.

        - (1 - p_y)^gamma log p_y      in [0, inf)

    Source: Lin et al. 2017, in the softmax form; their alpha is class_weights here. gamma = 0 gives
    cross_entropy. torchvision's sigmoid_focal_loss sums this loss over classes treated as
    independent.
    """

    gamma: Number = number(
        2.0, "how fast an example loses weight as its probability grows", at_least=0
    )

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        index_KB1 = targets.unsqueeze(-1)
        rest_KB = outputs_KBC.scatter(-1, index_KB1, -math.inf).logsumexp(-1)
        lag_KB = rest_KB - outputs_KBC.gather(-1, index_KB1).squeeze(-1)
        # p_y = sigmoid(-lag): neither p_y nor 1 - p_y loses digits, however large the outputs are.
        log_rest_KB = F.logsigmoid(lag_KB)
        return (log_rest_KB * fit(self.gamma, log_rest_KB)).exp() * -F.logsigmoid(-lag_KB)


@dataclass(frozen=True)
class KlDivergence(ClassificationLoss):
    """Kullback-Leibler divergence from the target distribution to the softmax of the outputs.

        sum_c q_c (log q_c - log p_c)      in [0, inf)

    Targets are either classes, with q = (1 - s) * onehot(y) + s / C and s the smoothing (s = 0
    gives cross-entropy), or distributions q [K, B, C]. torch's kl_div takes log-probabilities; its
    reduction "batchmean" equals this loss, and its "mean" also divides by C.
    """

    smoothing: Number = number(
        0.0, "fraction of a class target spread evenly over all classes", at_least=0, below=1
    )

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            return F.kl_div(outputs_KBC.log_softmax(-1), targets, reduction="none").sum(-1)
        loss_KB = cross_entropy_KB(outputs_KBC, targets, self.smoothing)
        return (
            loss_KB - fit(self._entropy(outputs_KBC.shape[-1]), loss_KB)
            if active(self.smoothing)
            else loss_KB
        )

    def _entropy(self, num_classes: int) -> Number:
        """Entropy of the smoothed target distribution."""
        spread = torch.as_tensor(self.smoothing, dtype=torch.float64) / num_classes
        top = 1 - spread * (num_classes - 1)
        entropy = -(torch.xlogy(top, top) + torch.xlogy(spread, spread) * (num_classes - 1))
        return entropy if isinstance(self.smoothing, Tensor) else float(entropy)


@dataclass(frozen=True)
class MseOnehot(ClassificationLoss):
    """Mean squared error between the outputs and the one-hot target (least-squares classifier).

        1 / C * sum_c (z_c - [c = y])^2      in [0, inf)

    The outputs are linear. The prediction is the nearest point of the probability simplex, which
    keeps the order of the classes and sums to 1.
    """

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        return (outputs_KBC - one_hot(targets, outputs_KBC)).square().mean(-1)

    def predict(self, outputs_KBC: Tensor) -> Tensor:
        return onto_simplex(outputs_KBC)


def onto_simplex(values_KBC: Tensor) -> Tensor:
    """Euclidean projection of the values [..., C] onto the probability simplex.

    The result is max(v - threshold, 0). Source: Duchi et al. 2008, figure 1.
    """
    # Shifting the maximum to 0 avoids losing digits to large values.
    below_top_KBC = values_KBC - values_KBC.amax(-1, keepdim=True)
    sorted_KBC = below_top_KBC.sort(-1, descending=True).values
    rank_C = torch.arange(
        1, values_KBC.shape[-1] + 1, device=values_KBC.device, dtype=values_KBC.dtype
    )
    threshold_KBC = (sorted_KBC.cumsum(-1) - 1) / rank_C
    last_KB1 = (sorted_KBC > threshold_KBC).sum(-1, keepdim=True).sub(1).clamp(min=0)
    return (below_top_KBC - threshold_KBC.gather(-1, last_KB1)).clamp(min=0)


@dataclass(frozen=True)
class Brier(ClassificationLoss):
    """Squared distance between the predicted and the one-hot probabilities.

        sum_c (p_c - [c = y])^2      in [0, 2]

    Source: Brier 1950. For two classes, scikit-learn's brier_score_loss is half of this value.
    """

    def __call__(self, outputs_KBC: Tensor, targets: Tensor) -> Tensor:
        return (outputs_KBC.softmax(-1) - one_hot(targets, outputs_KBC)).square().sum(-1)
