from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # building.py and oracle/
sys.path.insert(0, str(Path(__file__).parent / "pictures"))  # studies.py
sys.path.insert(0, str(Path(__file__).parent / "reliability"))  # harness.py
# Two workers on two cores: a thread each, so that they do not wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    """Nothing that a test runs leaves anything in the checkout."""
    monkeypatch.chdir(tmp_path)
