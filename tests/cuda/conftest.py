"""Comparison of CUDA with the CPU: the same networks, trained on both.

Every test in this folder is marked `cuda` and skipped if torch finds no CUDA device. The tests
never name the device themselves; they use the fixture `device_under_test`. To run every test
body on a machine without CUDA, name another device:

    MLPLAB_CUDA_TESTS_DEVICE=cpu python -m pytest tests/cuda

That compares the CPU with itself: it shows that the tests run, but nothing about CUDA.

The components are read from the tables ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES, INITIALIZERS and
STYLES, so a new one is compared without a change here.
"""

from __future__ import annotations

import os

import pytest

# cuBLAS is reproducible only with a fixed workspace, and reads this when CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch

DEVICE = os.environ.get("MLPLAB_CUDA_TESTS_DEVICE", "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; the hook sees those of every folder."""
    for item in items:
        if item.nodeid.startswith("tests/cuda/"):
            item.add_marker(pytest.mark.cuda)


def pytest_runtest_setup() -> None:
    """Skip here, so that `pytest -rs` shows one line for the whole folder."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} finds no CUDA device")


@pytest.fixture(scope="session")
def device_under_test() -> str:
    """The device that is compared with the CPU, as the configuration names it."""
    return DEVICE
