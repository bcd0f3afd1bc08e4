"""A data set that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

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
