"""A training that is interrupted and resumed on the device equals an undisturbed one bit by bit."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
import torch
from building import AfterEachStep, build_component, make_session, make_settings, stored
from comparing import assert_bit_equal, assert_close, needs_configuration, varied

from mlplab.optimizers import OPTIMIZERS
from mlplab.runs import tree_file
from mlplab.schedules import SCHEDULES
from mlplab.training.checkpoint import restore, unpack_rows

EPOCHS = 10
LAYER = {"dropout": 0.2, "normalization": "batch"}


class Stop(Exception):
    """Raised in the middle of a training."""


def new_session(members, device, *callbacks):
    on_device = [dataclasses.replace(settings, device=device) for settings in members]
    return make_session(on_device, *callbacks)


def checkpoint_at(step, members, device):
    """The bytes of a checkpoint: state and history after this step."""

    def stop(session, group):
        if group.stepper.step == step:
            raise Stop

    session = new_session(members, device, AfterEachStep(stop))
    with pytest.raises(Stop):
        session.run()
    (group,) = session.groups
    session.read(group)
    return tree_file.dump(stored(group))


def resumed(data, members, device):
    session = new_session(members, device)
    tree = tree_file.parse(data)
    restore(session.groups[0], tree["loop"], unpack_rows(tree["rows"]))
    assert session.device.type == device
    session.run()
    return session.outcomes()


def assert_resumes(members, device, steps=(2, 23)):
    session = new_session(members, device)
    session.run()
    undisturbed = session.outcomes()
    for step in steps:
        outcomes = resumed(checkpoint_at(step, members, device), members, device)
        for actual, expected in zip(outcomes, undisturbed, strict=True):
            assert_bit_equal(actual, expected)


def with_varied_numbers(k, optimizer, schedule="cosine", **fields):
    settings = make_settings(
        seed=k,
        layer=LAYER,
        optimizer=varied(OPTIMIZERS[optimizer], k, lr=0.005),
        schedule=varied(SCHEDULES[schedule], k),
        **{"epochs": EPOCHS - k % 5, **fields},
    )
    hidden = [dataclasses.replace(s, dropout=0.1 + k / 50) for s in settings.layers[:-1]]
    return dataclasses.replace(settings, layers=(*hidden, settings.layers[-1]))


@pytest.mark.parametrize(
    "name", [name for name, kind in OPTIMIZERS.items() if not kind.single_network]
)
def test_every_optimizer_resumes(name, device_under_test):
    assert_resumes([with_varied_numbers(k, name) for k in range(4)], device_under_test)


@pytest.mark.parametrize("class_name", ["LBFGS", "Adam", "SGD"])
def test_optimizers_of_torch_resume(class_name, device_under_test):
    optimizer = OPTIMIZERS["torch"](class_name=class_name, lr=0.01)
    settings = make_settings(optimizer=optimizer, training="batch", epochs=EPOCHS)
    assert_resumes([settings], device_under_test, steps=(3,))


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_resumes(name, device_under_test):
    members = [with_varied_numbers(k, "sgd", schedule=name) for k in range(3)]
    assert_resumes(members, device_under_test)


def test_a_population_that_has_shrunk_resumes(device_under_test):
    """Most members have ended and left before the checkpoint."""
    members = [with_varied_numbers(k, "adam", epochs=EPOCHS if k % 4 == 0 else 3) for k in range(8)]
    assert_resumes(members, device_under_test, steps=(23,))


def test_a_checkpoint_of_the_device_continues_on_the_cpu(device_under_test):
    """The bits differ, but the numbers are close."""
    members = [with_varied_numbers(k, "sgd") for k in range(4)]
    outcomes = resumed(checkpoint_at(23, members, device_under_test), members, "cpu")
    session = new_session(members, "cpu")
    session.run()
    for actual, expected in zip(outcomes, session.outcomes(), strict=True):
        assert_close(actual.last_theta_P, expected.last_theta_P, 1e-9)


@needs_configuration
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_run_that_was_interrupted_by_a_signal(
    deterministic, tmp_path, monkeypatch, device_under_test
):
    from mlplab import experiment
    from mlplab.config import settings_from_overrides
    from mlplab.runs.checkpoint_callback import CheckpointCallback

    settings = settings_from_overrides(
        [
            "experiment=xor_mlp",
            "tracking=summary",
            "dataset.num_samples=60",
            "training.epochs=12",
            "training.batch_size=16",
            "model.dropout=0.1",
            f"device={device_under_test}",
            f"deterministic={str(deterministic).lower()}",
        ]
    )
    undisturbed = experiment.run(settings, tmp_path / "undisturbed", quiet=True)
    is_due = CheckpointCallback.should_pause

    def interrupt(checkpointer, session, group):
        if group.stepper.step == 14:
            os.kill(os.getpid(), signal.SIGTERM)
        return is_due(checkpointer, session, group)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointCallback, "should_pause", interrupt)
        interrupted = experiment.run(settings, tmp_path / "run", quiet=True)
    assert interrupted.status == "interrupted"
    run = experiment.resume(tmp_path / "run", settings, quiet=True)
    assert run.status == undisturbed.status == "done"
    for name in ("metrics.csv", "weights.safetensors", "checkpoints/last.safetensors"):
        actual, expected = (
            (run.folder / name).read_bytes(),
            (undisturbed.folder / name).read_bytes(),
        )
        assert actual == expected, name
    assert "not bit-exact" not in (run.folder / "log.txt").read_text()


def test_the_default_dtype_stays(device_under_test):
    """torch.optim stores numbers in the default dtype, so no test may change it."""
    settings = make_settings(optimizer=build_component(OPTIMIZERS, "adam", lr=0.01), epochs=1)
    new_session([settings], device_under_test).run()
    assert torch.get_default_dtype() == torch.float32
