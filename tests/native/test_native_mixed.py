"""Members of mixed populations, which differ in widths, depth, components, batch size, length and
data: each has the bits of its lone run.
"""

from __future__ import annotations

import copy
import random

import pytest
from building import make_settings, stored
from harness import FULL, size
from native_training import StopAfter, assert_same_bits, dataset_for, session, train
from pauses import ask_after_each_step

from mlplab.data.preparation.registry import DATASETS
from mlplab.losses import LOSSES
from mlplab.native.variants import COMPONENTS
from mlplab.optimizers import OPTIMIZERS
from mlplab.training import Callback, Session, native_stepper
from mlplab.training.checkpoint import restore, unpack_rows

MEMBERS = size(ci=20, full=500)
SESSIONS = size(ci=1, full=10)
# by default few, since each function is compiled on a new machine
ACTIVATIONS = list(COMPONENTS["activation"]) if FULL else ["tanh", "relu"]
OPTIMIZER_NAMES = list(COMPONENTS["optimizer"]) if FULL else ["sgd", "adam"]
LOSS_NAMES = list(COMPONENTS["loss"]) if FULL else ["cross_entropy", "mse"]


def mixed_settings(seed: int, members: int = MEMBERS):
    """Members that differ in everything; some have the structure of another one."""
    draw, settings = random.Random(seed), []
    for _ in range(members):
        loss = draw.choice(LOSS_NAMES)
        dataset = DATASETS[dataset_for(LOSSES[loss])]
        common = {
            "dataset": dataset(num_samples=draw.choice([40, 150])),
            "hidden": [draw.randint(1, 64) for _ in range(draw.randint(0, 3))],
            "activation": draw.choice(ACTIVATIONS),
            "loss": loss,
            "dtype": draw.choice(["float32", "float64"]),
            "batch_size": draw.choice([1, 7, 32, 500]),
            "evaluate_every": draw.choice([1, 2]),
        }
        optimizer = OPTIMIZERS[draw.choice(OPTIMIZER_NAMES)]
        for _ in range(draw.choice([1, 1, 1, 3])):
            common["optimizer"] = optimizer(lr=draw.choice([0.003, 0.01, 0.02]))
            length = draw.choice([{"steps": draw.randint(2, 80)}, {"epochs": draw.randint(1, 5)}])
            patience = draw.choice([None, None, 2])
            seed = draw.randrange(1000)
            settings.append(make_settings(seed=seed, patience=patience, **length, **common))
    return settings[:members]


@pytest.fixture(scope="module")
def alone():
    """The outcome of the lone run of each member."""
    return [train([one], "native")[0] for one in mixed_settings(0)]


def assert_equal(training: Session, alone) -> None:
    for outcome, reference in zip(training.outcomes(), alone, strict=True):
        assert_same_bits(outcome, reference)


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_members_of_one_session_equal_their_single_runs(threads, alone):
    together = session(mixed_settings(0), "native")
    assert len(together.groups) > MEMBERS // 2
    for group in together.groups:
        group.stepper.threads = threads
    together.run()
    assert_equal(together, alone)


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize("seed", range(SESSIONS))
def test_an_interrupted_session_continues_to_the_same_bits(seed, alone, monkeypatch):
    """What has begun continues from its state, and the rest from its start."""
    settings = mixed_settings(0)
    ask_after_each_step(monkeypatch)
    stopped = session(settings, "native", StopAfter(random.Random(seed).randrange(20, 200)))
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    begun = [index for index, group in enumerate(stopped.groups) if group.started]
    assert 0 < len(begun) < len(stopped.groups)
    for index in begun:
        stopped.read(stopped.groups[index])
    states = {index: copy.deepcopy(stored(stopped.groups[index])) for index in begun}
    continued = session(settings, "native")
    for index, state in states.items():
        restore(continued.groups[index], state["loop"], unpack_rows(state["rows"]))
    continued.run()
    assert_equal(continued, alone)


class Follower(Callback):
    """Sees every evaluation and ends one member; every third epoch is a pause."""

    def __init__(self, retired: int) -> None:
        self.retired, self.evaluations, self.pauses, self.ended = retired, {}, 0, []

    def on_evaluation(self, session, evaluation):
        for member in evaluation.members.tolist():
            self.evaluations.setdefault(member, []).append(evaluation.step)
        if self.retired in evaluation.members and evaluation.step:
            session.retire(self.retired, "enough")

    def next_pause(self, session, group, index, epoch):
        return epoch // 3 * 3 + 3

    def on_pause(self, session, group):
        self.pauses += 1

    def on_group_end(self, session, group):
        self.ended += group.numbers


def test_callbacks_follow_each_member_as_in_its_single_run(alone):
    retired = max(range(MEMBERS), key=lambda number: len(alone[number].history))
    follower = Follower(retired)
    together = session(mixed_settings(0), "native", follower)
    together.run()
    outcomes = together.outcomes()
    assert outcomes[retired].reason == "enough"
    assert follower.pauses > 0
    assert sorted(follower.ended) == list(range(MEMBERS))
    for number, (outcome, reference) in enumerate(zip(outcomes, alone, strict=True)):
        assert follower.evaluations[number] == outcome.history.step.tolist()
        if number != retired:
            assert_same_bits(outcome, reference)


def test_members_admitted_while_others_train_equal_their_single_runs(alone):
    settings = mixed_settings(0)
    later = list(session(settings[10:20], "native").members.values())

    class Admit(Callback):
        def on_evaluation(self, session, evaluation):
            nonlocal later
            if evaluation.step:
                session.admit(later)
                later = []

    growing = session(settings[:10], "native", Admit())
    growing.run()
    assert_equal(growing, alone[:20])


def test_a_long_member_trains_beside_the_others(monkeypatch):
    """It is in the first stretches, so that the threads do not wait for it at the end."""
    real, calls = native_stepper.run, []

    def run(memories, threads):
        calls.append({memory.c.num_parameters for memory in memories})
        real(memories, threads)

    monkeypatch.setattr(native_stepper, "run", run)
    long = make_settings(hidden=(3,), epochs=400)
    short = [make_settings(hidden=(units,), epochs=20) for units in range(4, 24)]
    training = session([*short, long], "native")
    of_long = training.groups[-1].population.network.layout.num_parameters
    for group in training.groups:
        group.stepper.threads = 2
    training.run()
    assert of_long in calls[0]
    assert any(len(call) > 1 for call in calls if of_long in call)
