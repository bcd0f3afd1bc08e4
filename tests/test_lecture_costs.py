"""The claims of the lecture about cost."""

from __future__ import annotations

import pytest

import mlplab


@pytest.mark.campaign("timing")
def test_an_epoch_costs_more_the_smaller_its_batches():
    table = mlplab.sweep(["experiment=batch_styles", "tracking=summary"])
    seconds = table.groupby("training")["seconds"].median()
    assert seconds["sgd"] > 3 * seconds["minibatch"] > seconds["batch"]
