"""The fast order of factors gives the same values and gradients as the plain one."""

from __future__ import annotations

import pytest
import torch

from mlplab.network import affine as module
from mlplab.network.affine import affine


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [1, 2, 15, 16, 40])
@pytest.mark.parametrize("inputs", [1, 20])
@pytest.mark.parametrize("to_input", [True, False])
def test_it_is_the_plain_product(monkeypatch, inputs, outputs, bias, to_input):
    generator = torch.Generator().manual_seed(0)
    h, w, b = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((3, 30, inputs), (3, inputs, outputs), (3, 1, outputs))
    )
    g = torch.randn(3, 30, outputs, generator=generator, dtype=torch.float64)
    results = []
    for large in (0, 1 << 40):
        monkeypatch.setattr(module, "MIN_ELEMENTS", large)
        arguments = [
            h.clone().requires_grad_(to_input),
            w.clone().requires_grad_(),
            b.clone().requires_grad_() if bias else None,
        ]
        out = affine(*arguments)
        with torch.no_grad():
            torch.testing.assert_close(affine(*arguments), out, rtol=1e-12, atol=1e-12)
        leaves = [tensor for tensor in arguments if tensor is not None and tensor.requires_grad]
        results.append((out.detach(), *torch.autograd.grad([out], leaves, [g])))
    for fast, plain in zip(*results, strict=True):
        assert fast.shape == plain.shape
        torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)


def test_a_single_network_uses_the_plain_product(monkeypatch):
    monkeypatch.setattr(module, "MIN_ELEMENTS", 0)
    monkeypatch.setattr(module, "_product", None)
    h, w = torch.randn(1, 30, 4), torch.randn(1, 4, 2)
    assert torch.equal(affine(h, w, None), torch.bmm(h, w))
