"""Averaged weights equal those of torch.optim.swa_utils and a loop by hand, in both engines."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from building import AfterEachStep, make_session, make_settings
from native_training import LR, StopAfter, assert_same_bits, session, train

from mlplab.config.stored import settings_from_overrides
from mlplab.errors import ConfigError
from mlplab.optimizers import OPTIMIZERS
from mlplab.training import Session, prepare_members
from mlplab.training.checkpoint import capture, restore

# 200 points, 120 of them for training, batches of 32: 4 steps per epoch
EPOCHS = 12
STEPS = 4 * EPOCHS
NATIVE = sorted(set(OPTIMIZERS) - {"torch"})


def weights_after_each_step(settings):
    """theta after every step of a training with the eager engine: [S, P]."""
    seen = []
    plain = dataclasses.replace(
        settings, training=dataclasses.replace(settings.training, average="none")
    )
    keep = AfterEachStep(lambda _, group: seen.append(group.population.theta_KP[0].clone()))
    training = make_session([plain], keep)
    training.run()  # which polls after every step but the last
    return torch.stack([*seen, training.groups[0].population.theta_KP[0]])


def average_by_hand(theta_SP, average, decay, begin):
    mean, count = None, 0
    for step, theta in enumerate(theta_SP, 1):
        if step <= begin * len(theta_SP) or (average == "swa" and step % 4):
            continue
        if mean is None:
            mean = theta.clone()
        elif average == "ema":
            mean = decay * mean + (1 - decay) * theta
        else:
            mean = (mean * count + theta) / (count + 1)
        count += 1
    return mean


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_averages_equal_a_loop_by_hand(optimizer):
    fields = {"class_name": "ASGD"} if optimizer == "torch" else {}
    component = OPTIMIZERS[optimizer](lr=LR.get(optimizer, 0.01), **fields)
    base = make_settings(optimizer=component, epochs=EPOCHS)
    theta_SP = weights_after_each_step(base)
    assert len(theta_SP) == STEPS
    cases = [("ema", 0.4), ("swa", None)]
    for average, begin in cases:
        settings = make_settings(
            optimizer=component,
            epochs=EPOCHS,
            average=average,
            average_decay=0.9,
            average_start=begin,
        )
        expected = average_by_hand(theta_SP, average, 0.9, settings.training.average_begin)
        (eager,) = train([settings], "eager")
        torch.testing.assert_close(eager.last_theta_P, expected, rtol=0, atol=1e-10)
        if optimizer in NATIVE:
            (native,) = train([settings], "native")
            np.testing.assert_allclose(native.last_theta_P, expected, rtol=0, atol=1e-10)
            np.testing.assert_allclose(
                native.history.values, eager.history.values, rtol=1e-7, atol=1e-9
            )


def test_averages_equal_those_of_torch():
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    theta_SP = weights_after_each_step(make_settings(epochs=EPOCHS))
    module = torch.nn.Linear(theta_SP.shape[1], 1, bias=False, dtype=torch.float64)
    models = {
        "ema": AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.95)),
        "swa": AveragedModel(module),
    }
    for step, theta in enumerate(theta_SP, 1):
        with torch.no_grad():
            module.weight.copy_(theta)
        models["ema"].update_parameters(module)
        if step > 0.75 * STEPS and step % 4 == 0:
            models["swa"].update_parameters(module)
    for average, model in models.items():
        settings = make_settings(epochs=EPOCHS, average=average, average_decay=0.95)
        (outcome,) = train([settings], "native")
        expected = model.module.weight[0].detach()
        torch.testing.assert_close(outcome.last_theta_P, expected, rtol=0, atol=1e-10)


def mixed(count=9):
    """Members with every kind of average, of different lengths and rates."""
    return [
        make_settings(
            seed=i,
            epochs=5 + i % 3,
            average=("none", "ema", "swa")[i % 3],
            average_decay=0.8 + 0.01 * i,
            average_start=None if i % 2 else 0.3,
            dtype="float32",
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_members_of_a_population_may_differ(engine):
    together = session(mixed(), engine)
    assert len(together.groups) == 1
    together.run()
    for settings, outcome in zip(mixed(), together.outcomes(), strict=True):
        (alone,) = train([settings], engine)
        if engine == "native":
            assert_same_bits(outcome, alone)
        else:
            torch.testing.assert_close(outcome.last_theta_P, alone.last_theta_P)


def test_without_an_average_a_member_has_the_bits_of_a_population_without():
    settings = mixed(3)
    assert_same_bits(train(settings, "native")[0], train(settings[:1], "native")[0])


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_an_interrupted_training_continues_with_the_same_bits(engine):
    whole = train(mixed(), engine)
    stopped = session(mixed(), engine, StopAfter(2 if engine == "native" else 13))
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    (group,) = stopped.groups
    tree = copy.deepcopy(capture(group))
    members = prepare_members([dataclasses.replace(s, engine=engine) for s in mixed()])
    resumed = Session.of(members)
    stopped.read(group)
    rows = list(group.history_buffer.rows)
    restore(resumed.groups[0], tree, rows)
    resumed.run()
    for outcome, other in zip(whole, resumed.outcomes(), strict=True):
        assert_same_bits(outcome, other)


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_a_shorter_training_begins_its_average_later_than_planned(engine):
    """Resumed with fewer epochs, a training may be beyond the start of its average already."""
    long, short = (
        make_settings(epochs=epochs, average="ema", average_start=0.5) for epochs in (16, 6)
    )
    stopped = session([long], engine, StopAfter(2 if engine == "native" else 20))
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    (group,) = stopped.groups
    stopped.read(group)
    resumed = session([short], engine)
    restore(resumed.groups[0], copy.deepcopy(capture(group)), list(group.history_buffer.rows))
    before = group.stepper.step
    assert 12 < before < 24
    resumed.run()
    assert resumed.groups[0].population.averaging.count_K.tolist() == [24 - before]


def test_the_average_is_what_is_evaluated():
    settings = make_settings(epochs=EPOCHS, average="ema", average_decay=0.98)
    training = make_session([settings])
    training.run()
    (outcome,), population = training.outcomes(), training.groups[0].population
    assert not torch.equal(outcome.last_theta_P, population.theta_KP[0])
    measured = population.evaluate()
    assert measured["val/loss"][0] == outcome.history["val/loss"][-1]


def test_a_member_that_joins_later_has_its_average():
    first, second = make_settings(epochs=6), make_settings(epochs=6, seed=1, average="ema")
    members = prepare_members([first, second])
    together = Session.of(members[:1])
    hook = AfterEachStep(
        lambda session, group: (
            session.admit(members[1:])
            if group.stepper.step == 8 and len(session.members) == 1
            else None
        )
    )
    together.callbacks.append(hook)
    together.run()
    (alone,) = train([second], "eager")
    torch.testing.assert_close(together.outcomes()[1].last_theta_P, alone.last_theta_P)


def test_batch_normalization_is_refused():
    with pytest.raises(ConfigError, match=r"model\.normalization=layer"):
        settings_from_overrides(["training.average=ema", "model.normalization=batch"])
