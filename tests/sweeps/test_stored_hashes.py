"""The hashes of jobs are those that sweeps of version 0.2.0 store, so that they find their jobs."""

import pytest

from mlplab.config.composer import Composer
from mlplab.sweeps.plan.hashing import Hasher

STORED = {
    "experiment=xor_mlp": "a2c0acfe395ad8d6",
    "dataset=moons optimizer=sgd": "ea68adba9f70a19d",
    "dataset=moons optimizer=momentum": "766f5cbcc417650f",
    "dataset=moons optimizer=adagrad": "431f095566210b6a",
    "dataset=iris optimizer=adamw": "5b63c5fb8c9f3cd0",
}
NEW_KEYS = (
    *("debug=fast", "init_from=outputs/runs/a", "training.average=ema", "training.time_limit=10m"),
    *("training.average_decay=0.9", "training.average_start=0.5", "dataset.features=[x1]"),
    "optimizer.form=lecture",
    "training.calibration=auto",
)


def hash_of(line: str) -> str:
    return Hasher().hash(Composer(line.split()).compose_run().config)


@pytest.mark.parametrize("line", STORED)
def test_new_keys_do_not_change_the_hashes_of_stored_jobs(line):
    assert hash_of(line) == STORED[line]


def test_each_new_key_changes_the_hash():
    base = "dataset=moons optimizer=adagrad"
    hashes = {hash_of(base), *(hash_of(f"{base} {override}") for override in NEW_KEYS)}
    assert len(hashes) == 1 + len(NEW_KEYS)
