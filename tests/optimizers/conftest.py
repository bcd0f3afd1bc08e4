"""The objective of the optimizer tests: not quadratic, and different at each step.

Shapes: K members, P parameters.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor


class Problem:
    """loss = sum_p log(1 + (theta - target(step))^2), with its gradient written out."""

    def target(self, step: int, like_KP: Tensor) -> Tensor:
        index_P = torch.arange(like_KP.shape[1], dtype=torch.float64)
        return (torch.sin(index_P * 1.7 + step * 0.3) + 0.1 * index_P).to(like_KP.dtype)

    def __call__(self, theta_KP: Tensor, step: int) -> tuple[Tensor, Tensor]:
        error_KP = theta_KP - self.target(step, theta_KP)
        return error_KP.square().log1p().sum(1), 2 * error_KP / (1 + error_KP.square())

    def start(
        self, num_members: int, num_parameters: int = 7, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        generator = torch.Generator().manual_seed(5)
        return (
            torch.randn(1, num_parameters, generator=generator, dtype=torch.float64)
            .repeat(num_members, 1)
            .to(dtype)
        )


@pytest.fixture
def problem() -> Problem:
    return Problem()


@pytest.fixture
def default_float64():
    """torch stores some numbers of its optimizers in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
