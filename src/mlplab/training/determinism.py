"""Strict determinism for the duration of a training."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def determinism(strict: bool) -> Iterator[None]:
    """Make torch deterministic if `strict`, and restore its previous settings on exit.

    Operations without a deterministic kernel then raise RuntimeError, cuBLAS gets a fixed
    workspace, cuDNN does not benchmark kernels, and TensorFloat-32 is off. The CPU kernels used
    here are always deterministic for a given number of threads.
    """
    if not strict:
        yield
        return
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    precision, benchmark, tf32 = (
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = False, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = benchmark, tf32
