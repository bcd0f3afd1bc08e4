"""Pictures of the default tier have few dots, which halves what they cost."""

from __future__ import annotations

import pytest
from composing import composed_once  # noqa: F401


@pytest.fixture(autouse=True, scope="module")
def few_dots():
    from drawing import use_few_dots

    with pytest.MonkeyPatch.context() as patch:
        use_few_dots(patch)
        yield
