"""The reference implementation: one nn.Sequential trained with torch.optim and torch losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def train_plain(
    model: nn.Sequential,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[list[tuple[Tensor, Tensor]]],
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
) -> nn.Sequential:
    """Train and return the model. `batches` yields the batches of each epoch.

    The scheduler steps after each epoch.
    """
    model.train()
    for epoch in batches:
        for x, y in epoch:

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                value = loss(model(x), y)
                value.backward()
                if clip_value is not None:
                    nn.utils.clip_grad_value_(model.parameters(), clip_value)
                if clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
                return value

            optimizer.step(closure)
        if scheduler is not None:
            scheduler.step()
    return model.eval()
