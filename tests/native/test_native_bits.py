"""A member's bits depend neither on its population, nor on threads, nor on interruptions."""

from __future__ import annotations

import copy
import dataclasses
import random

import pytest
from building import make_settings, stored
from harness import size
from native_training import StopAfter, assert_same_bits, dataset_for, session, train
from pauses import ask_after_each_step

from mlplab.native.variants import COMPONENTS, variants
from mlplab.schedules import SCHEDULES
from mlplab.training import Callback, stretches
from mlplab.training.checkpoint import restore, unpack_rows

NUM_STRUCTURES = size(ci=4, full=40)
NUM_POPULATIONS = size(ci=1, full=5)
MEMBERS = 5
POPULATION = size(ci=20, full=1000)
COMPARED = size(ci=5, full=200)
"""Of the members of a population, chosen at random."""
MONITORS = {"classification": ("f1", "log_loss"), "regression": ("mape", "rmse")}
"""Metrics by the kind of task: some measured by the kernel, one by torch."""


def random_settings(seed: int, members: int = MEMBERS):
    """Settings of members of one structure, which differ in all that members may differ in."""
    draw = random.Random(seed)
    loss = draw.choice(list(COMPONENTS["loss"].values()))
    optimizer = draw.choice(list(COMPONENTS["optimizer"].values()))
    common = {
        "dataset": dataset_for(loss),
        "hidden": [draw.randint(1, 40) for _ in range(draw.randint(0, 3))],
        "loss": draw.choice(list(variants(loss))),
        "dtype": draw.choice(["float32", "float64"]),
        "evaluate_every": draw.choice([1, 1, 3]),
        "clip_norm": draw.choice([None, 0.5]),
        "batch_size": draw.choice([1, 7, 32, 33, 500]),
        "activation": draw.choice(list(COMPONENTS["activation"])),
        "monitor": draw.choice(["auto", *MONITORS[loss.tasks[0]]]),
    }
    is_block = 2 <= common["batch_size"] <= 32  # of the kernel
    normalization = draw.choice(["none", "layer", *(["batch"] if is_block else [])])
    form = draw.choice(list(variants(optimizer)))
    schedule = draw.choice([name for name in SCHEDULES if name != "multistep"])
    fields = {"patience": 0} if schedule == "plateau" else {}
    return [
        make_settings(
            seed=draw.randrange(1000),
            optimizer=dataclasses.replace(form, lr=draw.choice([0.001, 0.003, 0.01])),
            schedule=SCHEDULES[schedule](warmup=draw.choice([0.5, 2.5]), **fields),
            layer={"normalization": normalization, "dropout": draw.choice([0.0, 0.1, 0.5])},
            patience=draw.choice([None, 2]) if k else None,  # the first one is interrupted
            steps=60 if k == 0 else draw.randint(2, 60),
            **common,
        )
        for k in range(members)
    ]


def resumed(settings, stop: Callback):
    """The outcomes of a training that `stop` interrupts, continued by another session."""
    interrupted = session(settings, "native", stop)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    interrupted.read(interrupted.groups[0])
    state = copy.deepcopy(stored(interrupted.groups[0]))
    continued = session(settings, "native")
    restore(continued.groups[0], state["loop"], unpack_rows(state["rows"]))
    continued.run()
    return continued.outcomes()


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("seed", range(NUM_STRUCTURES))
def test_members_equal_their_single_runs(seed):
    settings = random_settings(seed)
    alone = [train([one], "native")[0] for one in settings]
    for threads in (1, 2, 5):
        together = session(settings, "native")
        for group in together.groups:
            group.stepper.threads = threads
        together.run()
        for outcome, reference in zip(together.outcomes(), alone, strict=True):
            assert_same_bits(outcome, reference)


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("seed", range(NUM_STRUCTURES))
def test_a_resumed_training_equals_one_without_interruption(seed):
    settings = random_settings(1000 + seed)
    reference = train(settings, "native")
    for outcome, other in zip(resumed(settings, StopAfter(seed % 3)), reference, strict=True):
        assert_same_bits(outcome, other)


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("seed", range(NUM_POPULATIONS))
def test_members_of_a_large_population_equal_their_single_runs(seed, monkeypatch):
    settings, draw = random_settings(2000 + seed, POPULATION), random.Random(seed)
    compared = draw.sample(range(POPULATION), COMPARED)
    alone = [train([settings[k]], "native")[0] for k in compared]

    def assert_equal(outcomes):
        assert len({outcome.steps for outcome in outcomes}) > 1  # they end one after the other
        for k, reference in zip(compared, alone, strict=True):
            assert_same_bits(outcomes[k], reference)

    for threads in (1, 2):
        together = session(settings, "native")
        (group,) = together.groups
        group.stepper.threads = threads
        together.run()
        assert_equal(together.outcomes())
    ask_after_each_step(monkeypatch)  # a stretch is a step
    assert_equal(resumed(settings, StopAfter(draw.randrange(1, 58))))


def test_members_that_are_admitted_later_equal_their_single_runs():
    settings = [make_settings(seed=seed, epochs=6) for seed in range(4)]
    alone = [train([one], "native")[0] for one in settings]
    members = [member for one in settings for member in session([one], "native").members.values()]

    class Pause(Callback):
        def next_pause(self, session, group, index, epoch):
            return 2 if epoch < 2 else None

    growing = session(settings[:2], "native", Pause())
    growing.advance(growing.groups[0])
    growing.add(members[2:])
    assert len(growing.groups) == 1
    growing.run()
    for outcome, reference in zip(growing.outcomes(), alone, strict=True):
        assert_same_bits(outcome, reference)


def test_an_end_within_an_epoch_does_not_add_evaluations_to_other_members():
    settings = [make_settings(seed=seed, steps=steps) for seed, steps in ((0, 6), (1, 20))]
    for outcome, one in zip(train(settings, "native"), settings, strict=True):
        assert_same_bits(outcome, train([one], "native")[0])


class Observer(Callback):
    """With it, a stretch ends at each evaluation."""

    def on_evaluation(self, session, evaluation):
        assert evaluation.population.theta_KP.isfinite().all()


def test_ended_members_leave_the_population():
    settings = [make_settings(seed=seed, epochs=epochs) for seed, epochs in enumerate((2, 3, 9, 4))]
    training = session(settings, "native", Observer())
    training.run()
    assert training.groups[0].ended
    for outcome, one in zip(training.outcomes(), settings, strict=True):
        assert_same_bits(outcome, train([one], "native")[0])


def test_the_evaluations_of_a_stretch_are_one_block(monkeypatch):
    monkeypatch.setattr(stretches, "STRETCH_SECONDS", 1e9)  # only their growth limits them
    training = session([make_settings(hidden=(2,), steps=4**6)], "native")
    training.run()
    rows = training.groups[0].history_buffer.rows
    assert len(rows) == 4**6 // 4 + 1
    assert len(list(rows.blocks())) < 20
