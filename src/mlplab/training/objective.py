"""The training objective (mean loss plus penalties) and its gradient, clipped per member.

Shapes: K members, B examples of a batch, P parameters.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlplab.losses import Loss
from mlplab.network.layout import LayerViews
from mlplab.network.mlp import MLP, Buffers, Dropout
from mlplab.stacking import fit
from mlplab.training.backward import accumulate, gradients
from mlplab.training.batches import Batch

if TYPE_CHECKING:
    from mlplab.training.distributed import ProcessGroup
    from mlplab.training_options import Training


def reduce_losses(loss_KB: Tensor, weights_KB: Tensor | None, reduction: str) -> Tensor:
    """Reduce the losses of the examples to one number per member, [K].

    This is the weighted mean, sum(w * l) / sum(w), or for reduction "sum" the weighted sum.
    """
    if reduction == "sum":
        return loss_KB.sum(1) if weights_KB is None else (weights_KB * loss_KB).sum(1)
    return (
        loss_KB.mean(1)
        if weights_KB is None
        else (weights_KB * loss_KB).sum(1) / _total(weights_KB)
    )


def _total(weights_KB: Tensor) -> Tensor:
    """Sum of the weights [K], or 1 if all are 0: such a batch has loss and gradient 0."""
    total_K = weights_KB.sum(1)
    return torch.where(total_K > 0, total_K, 1.0)


class Objective:
    """(theta_KP, batch, step) -> (loss_K, gradient_KP).

    The objective is loss + l1 * sum |w| + l2 / 2 * sum w^2 (weights, not biases); its gradient is
    clipped by value, then by norm, each member separately. The gradient of a bias in front of batch
    normalization is exactly 0.
    """

    def __init__(
        self,
        network: MLP,
        loss: Loss,
        training: Training,
        theta_KP: Tensor,
        buffers: Buffers,
        dropout: Dropout | None,
    ) -> None:
        self.network, self.loss, self.training, self.buffers, self.dropout = (
            network,
            loss,
            training,
            buffers,
            dropout,
        )
        self.gradient_KP = torch.zeros_like(theta_KP)
        canceled = set(network.canceled_biases())
        self._canceled = [
            gradient
            for entry, gradient in zip(
                network.layout.entries, network.layout.split(self.gradient_KP), strict=True
            )
            if entry in canceled
        ]
        self._equal_KB: dict[tuple[int, int], Tensor] = {}
        self._weights_P = network.layout.mask("weight", theta_KP.device, theta_KP.dtype)
        self._penalized = any(isinstance(n, Tensor) or n > 0 for n in (training.l1, training.l2))
        self._single = theta_KP.shape[0] == 1
        self._clips = training.clip_value is not None or training.clip_norm is not None
        self._bind(theta_KP)

    def _bind(self, theta_KP: Tensor) -> None:
        """Create leaves that share theta's memory, so updates of theta need no new split."""
        layout = self.network.layout
        self._leaves = [view.detach().requires_grad_() for view in layout.split(theta_KP)]
        if self._single:
            for leaf, gradient in zip(self._leaves, layout.split(self.gradient_KP), strict=True):
                leaf.grad = gradient
        self._theta, self._views = theta_KP, layout.layers(self._leaves)

    def bound(self, theta_KP: Tensor) -> list[LayerViews]:
        """The parameters of theta by layer, as views that autograd tracks."""
        if theta_KP is not self._theta:
            self._bind(theta_KP)
        return self._views

    def __call__(
        self,
        theta_KP: Tensor,
        batch: Batch,
        step: int | Tensor,
        process_group: ProcessGroup | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the objective [K] and the gradient [K, P] at theta, on the batch of this step.

        A process of a group computes its shard and sums the gradients of all. The next call
        overwrites the gradient.
        """
        views = self.bound(theta_KP)
        (x_KBF, y, weights_KB), first = (
            (batch, 0) if process_group is None else process_group.shard(batch)
        )
        drop = None if self.dropout is None else functools.partial(self.dropout, step, first)
        with torch.enable_grad():
            outputs_KBC = self.network.forward(views, x_KBF, self.buffers, True, drop)
            loss_KB = self.loss(outputs_KBC, y)
            coefficients_KB = self._coefficients(loss_KB, weights_KB, batch)
            self._differentiate(loss_KB, coefficients_KB)
        if process_group is None:
            objective_K = reduce_losses(loss_KB.detach(), weights_KB, self.loss.reduction)
        else:
            shard_objective_K = (coefficients_KB * loss_KB.detach()).sum(1)
            objective_K = process_group.reduce(self.gradient_KP, shard_objective_K)
        if self._penalized:
            objective_K = objective_K + self._penalty(theta_KP)
        if self._clips:
            self._clip()
        return objective_K, self.gradient_KP

    def _coefficients(self, loss_KB: Tensor, weights_KB: Tensor | None, batch: Batch) -> Tensor:
        """The coefficient of each loss in the objective of the batch, of which they may be a shard.

        Passing it to autograd as the outer gradient keeps the reduction off the tape.
        """
        _, y, batch_weights_KB = batch
        sums = self.loss.reduction == "sum"
        if weights_KB is not None and batch_weights_KB is not None:
            return weights_KB if sums else weights_KB / _total(batch_weights_KB).unsqueeze(1)
        key = loss_KB.shape[1], y.shape[1]
        if key not in self._equal_KB:
            self._equal_KB[key] = torch.full_like(
                loss_KB, 1.0 if sums else 1.0 / y.shape[1], requires_grad=False
            )
        return self._equal_KB[key]

    def _differentiate(self, loss_KB: Tensor, coefficients_KB: Tensor) -> None:
        """Run one backward pass for all members.

        The gradients of a single member are contiguous, so autograd accumulates them in place.
        """
        if self._single:
            self.gradient_KP.zero_()
            accumulate(loss_KB, coefficients_KB)
        else:
            leaf_gradients = gradients(loss_KB, coefficients_KB, self._leaves)
            torch.cat(
                [gradient.flatten(1) for gradient in leaf_gradients], dim=1, out=self.gradient_KP
            )
        for gradient in self._canceled:
            gradient.zero_()

    def probe(
        self, theta_KP: Tensor, batch: Batch, process_group: ProcessGroup | None = None
    ) -> None:
        """Compute the gradient of the first step, without changing the running statistics."""
        saved = {name: value.clone() for name, value in self.buffers.items()}
        self(theta_KP, batch, 1, process_group)
        for name, value in saved.items():
            self.buffers[name].copy_(value)

    def _penalty(self, theta_KP: Tensor) -> Tensor:
        weights_KP = theta_KP * self._weights_P
        l1, l2 = fit(self.training.l1, weights_KP), fit(self.training.l2, weights_KP)
        self.gradient_KP.add_(weights_KP * l2).add_(weights_KP.sign() * l1)
        return (l1 * weights_KP.abs() + l2 / 2 * weights_KP.square()).sum(1)

    def _clip(self) -> None:
        value, norm, gradient_KP = (
            self.training.clip_value,
            self.training.clip_norm,
            self.gradient_KP,
        )
        if value is not None:
            limit = torch.as_tensor(
                fit(value, gradient_KP), dtype=gradient_KP.dtype, device=gradient_KP.device
            )
            torch.minimum(torch.maximum(gradient_KP, -limit), limit, out=gradient_KP)
        if norm is not None:
            size_K1 = gradient_KP.norm(dim=1, keepdim=True)
            # torch's clip_grad_norm_ divides by (norm + 1e-6); doing the same gives equal bits
            gradient_KP.mul_((fit(norm, size_K1) / (size_K1 + 1e-6)).clamp_(max=1.0))
