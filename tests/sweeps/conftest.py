"""A data set that fails, and a packed sweep."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import mlplab

FAILING = '''
from dataclasses import dataclass
from mlplab.config import register
from mlplab.data.preparation.registry import DATASETS
from mlplab.schema import number

@register("dataset", "broken")
@dataclass(frozen=True)
class Broken(DATASETS["xor"]):
    """XOR that fails with this noise."""
    mood: float = number(0.0, "1 raises")
    def make(self, generator):
        if self.mood == 1:
            raise RuntimeError("no mood today")
        return super().make(generator)
'''


@pytest.fixture
def plugin():
    """A file with a data set that raises if its mood is 1."""
    from mlplab.config import plugins

    Path("components.py").write_text(FAILING)
    yield "components.py"
    plugins._registered["dataset"].pop("broken", None)


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """The folder of a packed sweep of four jobs, which tests must not change."""
    folder = tmp_path_factory.mktemp("sound") / "sweep"
    overrides = ["experiment=xor_mlp", "dataset.num_samples=60", "training.epochs=4", "device=cpu"]
    packed = ["training.batch_size=16", "seed=range(4)", "tracking.jobs=packed"]
    mlplab.sweep([*overrides, *packed], folder)
    return folder


@pytest.fixture
def sweep(sound):
    """A copy of that sweep in the working folder."""
    shutil.copytree(sound, "sweep")
    return Path("sweep")
