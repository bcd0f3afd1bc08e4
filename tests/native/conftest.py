"""The tests of this folder are skipped where the native engine cannot be compiled."""

import functools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # native_training.py

from mlplab.native import NativeError, kernel


@functools.cache
def missing() -> str | None:
    try:
        for dtype in ("float32", "float64"):
            kernel(dtype)
    except NativeError as error:
        return str(error)
    return None


@pytest.fixture(scope="session", autouse=True)
def _compiled():
    """Compile the kernel, or load it from the user's cache, before the first test."""
    if reason := missing():
        pytest.skip(f"the native engine cannot be used here: {reason}")
