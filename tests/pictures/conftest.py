"""Pictures have a low resolution in the default tier, which halves their cost."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def few_dots():
    from drawing import use_few_dots

    with pytest.MonkeyPatch.context() as patch:
        use_few_dots(patch)
        yield
