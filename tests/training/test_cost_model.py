"""The estimates by which engine=auto chooses."""

from __future__ import annotations

import dataclasses

import pytest
from building import make_settings

from mlplab.data.preparation.examples import prepare
from mlplab.training.cost_model import Workload

SMALL = Workload((20, 64, 64, 2), 32, 16, 500)


def is_native(workload: Workload) -> bool:
    return workload.native_nanoseconds() <= workload.eager_nanoseconds()


def test_the_workload_of_a_member():
    settings = make_settings(hidden=(5, 7), batch_size=50, evaluate_every=2, dtype="float32")
    prepared = prepare(settings.dataset, 0, True)
    train, val = len(prepared.train), len(prepared.val)
    assert Workload.of(settings, prepared) == Workload(
        (2, 5, 7, 2), 50, -(-train // 50), (train + val) / 2
    )
    batch = make_settings(training="batch")
    assert Workload.of(batch, prepared).batch_size == train
    assert Workload.of(batch, prepared).is_double


@pytest.mark.parametrize("batch_size", [1, 32, 4096])
@pytest.mark.parametrize("is_double", [False, True])
def test_small_networks_are_native_and_large_ones_eager(batch_size, is_double):
    changes = {"batch_size": batch_size, "is_double": is_double}
    assert is_native(dataclasses.replace(SMALL, **changes))
    assert not is_native(dataclasses.replace(SMALL, widths=(784, 2048, 2048, 10), **changes))


@pytest.mark.parametrize(
    "changes", [{"batch_size": 64}, {"steps": 32}, {"num_evaluated": 1000}, {"is_double": True}]
)
def test_more_work_takes_longer(changes):
    more = dataclasses.replace(SMALL, **changes)
    assert more.native_nanoseconds() > SMALL.native_nanoseconds()
    assert more.eager_nanoseconds() > SMALL.eager_nanoseconds()


def test_a_batch_costs_the_kernel_whole_blocks():
    one, full = (dataclasses.replace(SMALL, batch_size=size) for size in (1, 32))
    assert one.native_nanoseconds() == full.native_nanoseconds()
    assert one.eager_nanoseconds() < full.eager_nanoseconds()
