"""The affine map h W + b of K layers at once, in the fastest order of factors.

A batched product with a narrow factor (such as an output layer with few classes) is several times
slower than the product of the transposed matrices, and adding the bias in place is cheaper than
passing it as a batch of matrices.

Shapes: K members, B examples, I inputs, O outputs of the layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

MIN_ELEMENTS = 1 << 17
"""Size of the larger of input and output from which this is faster; below it, the overhead of a
Python autograd function exceeds the savings.
"""
MAX_NARROW_WIDTH = 16
BLOCK_ROWS = 96
"""Rows of the products of `affine_in_blocks`: a multiple of the number of rows that the kernels of
matrix libraries compute at once, also if up to four threads share the rows.
"""

VECTOR_ROWS = 16
"""Rows of which there are a multiple outside of the products: the elements of any layer then fill
whole vectors of the processor (two of 64 bytes), so that none is computed by other instructions.
"""
NUM_TRIED = 4
MAX_TRIED_SIZE = 1 << 17
"""Matrices, and elements of one, whose products are compared before small blocks are used."""

Affine: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A function (h_KBI, weight_KIO, bias_K1O) -> h W + b, [K, B, O]."""


def affine(h_KBI: Tensor, weight_KIO: Tensor, bias_K1O: Tensor | None) -> Tensor:
    """Return h W + b, [K, B, O]."""
    members, examples, inputs = h_KBI.shape
    if members == 1 or members * examples * max(inputs, weight_KIO.shape[2]) < MIN_ELEMENTS:
        return (
            torch.bmm(h_KBI, weight_KIO)
            if bias_K1O is None
            else torch.baddbmm(bias_K1O, h_KBI, weight_KIO)
        )
    if torch.is_grad_enabled() and (weight_KIO.requires_grad or h_KBI.requires_grad):
        output: Tensor = _Affine.apply(h_KBI, weight_KIO, bias_K1O)  # type: ignore[no-untyped-call]
        return output
    return _product(h_KBI, weight_KIO, bias_K1O)


def affine_in_blocks(h_KBI: Tensor, weight_KIO: Tensor, bias_K1O: Tensor | None) -> Tensor:
    """Return h W + b, [K, B, O], in which a row does not depend on the other rows, nor on K and B.

    The last bits of a matrix product depend on the number of rows and, at the end of a matrix, on
    the position of the row. Hence each product has BLOCK_ROWS rows, of which B is a multiple; a
    smaller B is one of VECTOR_ROWS, and is filled up with zeros if that matters. Batched products
    of torch differ in the same way with the size of the batch, those of NumPy do not.
    """
    members, examples, inputs = h_KBI.shape
    rows, blocks = BLOCK_ROWS, h_KBI.numpy()
    if examples < BLOCK_ROWS:
        if _rows_are_same_in_small_blocks(inputs, weight_KIO.shape[2]):
            rows = VECTOR_ROWS
        else:
            filled = np.zeros((members, BLOCK_ROWS, inputs))
            filled[:, :examples] = blocks
            blocks = filled
    blocks = blocks.reshape(members, -1, rows, inputs)
    product = np.matmul(blocks, weight_KIO.numpy()[:, None], order="C")
    out_KBO = product.reshape(members, blocks.shape[1] * rows, -1)[:, :examples]
    if bias_K1O is not None:
        out_KBO += bias_K1O.numpy()
    return torch.from_numpy(np.ascontiguousarray(out_KBO))


@functools.cache
def _rows_are_same_in_small_blocks(inputs: int, outputs: int) -> bool:
    """Whether products of VECTOR_ROWS rows have the bits of those of BLOCK_ROWS rows, as this
    machine's library computes them; not asked of large matrices, where that would take long.
    """
    if inputs * outputs > MAX_TRIED_SIZE:
        return False
    rng = np.random.default_rng(0)
    h = rng.normal(size=(NUM_TRIED, BLOCK_ROWS, inputs))
    weight = rng.normal(size=(NUM_TRIED, inputs, outputs))
    small = np.matmul(h.reshape(NUM_TRIED, -1, VECTOR_ROWS, inputs), weight[:, None])
    return np.array_equal(small.reshape(NUM_TRIED, BLOCK_ROWS, outputs), np.matmul(h, weight))


def _product(h_KBI: Tensor, weight_KIO: Tensor, bias_K1O: Tensor | None) -> Tensor:
    out_KBO = (
        torch.bmm(weight_KIO.mT.contiguous(), h_KBI.mT).mT.contiguous()
        if weight_KIO.shape[2] < MAX_NARROW_WIDTH
        else torch.bmm(h_KBI, weight_KIO)
    )
    return out_KBO if bias_K1O is None else out_KBO.add_(bias_K1O)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h_KBI: Tensor, weight_KIO: Tensor, bias_K1O: Tensor | None) -> Tensor:
        ctx.save_for_backward(h_KBI, weight_KIO)
        return _product(h_KBI, weight_KIO, bias_K1O)

    @staticmethod
    def backward(ctx: Any, gradient_KBO: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        h_KBI, weight_KIO = ctx.saved_tensors
        narrow = weight_KIO.shape[2] < MAX_NARROW_WIDTH
        to_weight = (
            torch.bmm(gradient_KBO.mT.contiguous(), h_KBI).mT
            if narrow
            else torch.bmm(h_KBI.mT, gradient_KBO)
        )
        to_bias = gradient_KBO.sum(1, keepdim=True) if ctx.needs_input_grad[2] else None
        to_h = (
            torch.bmm(gradient_KBO, weight_KIO.mT.contiguous() if narrow else weight_KIO.mT)
            if ctx.needs_input_grad[0]
            else None
        )
        return to_h, to_weight, to_bias
