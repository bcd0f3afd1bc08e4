"""Members that are added to or removed from a population in training do not change the others, to
1e-10 in float64.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from building import TrialSession, build_component, make_session, make_settings, stored

from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.sweeps.plan.plan import Job
from mlplab.sweeps.search.successive_halving import Rungs, RungScores
from mlplab.sweeps.search.trials import Trial, TrialMember
from mlplab.training import Callback, prepare_members, train_population
from mlplab.training.checkpoint import restore, unpack_rows

EXACT = {"rtol": 0, "atol": 1e-10}
STACKABLE = [choice for choice, kind in OPTIMIZERS.items() if not kind.single_network]


def trials(settings, *epochs):
    """A trial of one job for each of the settings, whose seeds number the jobs."""
    rungs = Rungs(epochs, 3, "train/loss")
    jobs = [Job(one.seed, "", one) for one in settings]
    return [
        TrialMember(Trial((job,), rungs), job, member)
        for job, member in zip(jobs, prepare_members(settings), strict=True)
    ]


def train_with_late_members(first, later, at=(2,), change=lambda session: None):
    """Outcomes of members, of which `later` are added at an event at epoch `at`.

    Ended members are removed at once.
    """
    session, outcomes = TrialSession(trials(first, *at)), {}
    waiting = trials(later, *at)
    while session.groups or waiting:
        session.advance(session.group)
        change(session)
        outcomes |= {trial.member.settings.seed: outcome for trial, outcome in session.leave()}
        if waiting and session.groups:
            session.add_trials(waiting)
            waiting = []
    return outcomes


def assert_equal_single_runs(outcomes, settings):
    for member in settings:
        single, outcome = train_population([member])[0], outcomes[member.seed]
        torch.testing.assert_close(outcome.last_theta_P, single.last_theta_P, **EXACT)
        torch.testing.assert_close(outcome.theta_P, single.theta_P, **EXACT)
        assert (outcome.status, outcome.epochs, outcome.steps) == (
            single.status,
            single.epochs,
            single.steps,
        )
        assert (outcome.best_epoch, outcome.best_step) == (single.best_epoch, single.best_step)
        assert outcome.history.epoch.tolist() == single.history.epoch.tolist()
        assert outcome.history.step.tolist() == single.history.step.tolist()
        torch.testing.assert_close(
            torch.from_numpy(outcome.history.values),
            torch.from_numpy(single.history.values),
            rtol=1e-8,
            atol=1e-8,
        )


@pytest.mark.parametrize("choice", STACKABLE)
def test_a_late_member_equals_its_single_run_for_every_optimizer(choice):
    settings = [
        make_settings(
            seed=seed,
            optimizer=build_component(OPTIMIZERS, choice, lr=0.01),
            epochs=6,
            schedule="cosine",
        )
        for seed in range(5)
    ]
    assert_equal_single_runs(train_with_late_members(settings[:3], settings[3:]), settings)


@pytest.mark.parametrize("choice", SCHEDULES)
def test_a_late_member_equals_its_single_run_for_every_schedule(choice):
    schedule = build_component(SCHEDULES, choice, warmup=2.0)
    settings = [
        make_settings(
            seed=seed,
            optimizer=build_component(OPTIMIZERS, "adam", lr=0.01),
            epochs=6 + seed,
            schedule=schedule,
        )
        for seed in range(4)
    ]
    assert_equal_single_runs(train_with_late_members(settings[:2], settings[2:]), settings)


def test_dropout_and_running_statistics_follow_the_time_of_each_member():
    layer = {"dropout": 0.2, "normalization": "batch"}
    settings = [make_settings(seed=seed, layer=layer, epochs=6) for seed in range(4)]
    assert_equal_single_runs(train_with_late_members(settings[:2], settings[2:]), settings)


def test_members_may_differ_in_numbers_length_and_patience():
    def member(seed):
        base = make_settings(
            seed=seed,
            optimizer=build_component(OPTIMIZERS, "adam", lr=0.003 * (1 + seed)),
            epochs=4 + 3 * seed,
            patience=2 + seed,
        )
        return dataclasses.replace(
            base, dataset=dataclasses.replace(base.dataset, noise=0.01 * seed)
        )

    settings = [member(seed) for seed in range(6)]
    assert_equal_single_runs(
        train_with_late_members(settings[:3], settings[3:], at=(2, 4)), settings
    )


def test_a_late_member_that_diverges_does_not_change_the_others():
    settings = [
        make_settings(seed=seed, optimizer=build_component(OPTIMIZERS, "sgd", lr=0.1), epochs=6)
        for seed in range(4)
    ]
    sick = make_settings(seed=9, optimizer=build_component(OPTIMIZERS, "sgd", lr=1e308), epochs=6)
    outcomes = train_with_late_members(settings[:2], [*settings[2:], sick])
    single = train_population([sick])[0]
    assert (outcomes[9].status, outcomes[9].reason, outcomes[9].steps) == (
        single.status,
        single.reason,
        single.steps,
    )
    assert_equal_single_runs(outcomes, settings)


def test_a_pruned_member_leaves_and_the_others_continue():
    settings = [make_settings(seed=seed, epochs=6) for seed in range(4)]

    def prune(session):
        for number, epoch, _ in session.at_rungs():
            if session.members[number].settings.seed == 1:
                session.retire(number, f"at epoch {epoch}")

    outcomes = train_with_late_members(settings[:3], settings[3:], change=prune)
    assert (outcomes[1].status, outcomes[1].reason, outcomes[1].epochs) == (
        "pruned",
        "at epoch 2",
        2,
    )
    assert outcomes[1].history.epoch.tolist() == [0, 1, 2]
    assert_equal_single_runs(
        {seed: outcome for seed, outcome in outcomes.items() if seed != 1},
        [settings[0], *settings[2:]],
    )


def test_a_checkpoint_of_members_at_different_epochs_continues_to_the_same_bits():
    settings = [
        make_settings(seed=seed, epochs=6, dtype="float32", layer={"dropout": 0.1})
        for seed in range(4)
    ]
    session = TrialSession(trials(settings[:2], 2))
    session.advance(session.group)
    session.add_trials(trials(settings[2:], 2))
    session.advance(session.group)
    session.read(session.group)
    state = torch.utils._pytree.tree_map(
        lambda value: value.clone() if isinstance(value, torch.Tensor) else value,
        stored(session.group),
    )
    other = make_session(settings)
    restore(other.groups[0], state["loop"], unpack_rows(state["rows"]))
    for continued in (session, other):
        continued.run()
    for mine, theirs in zip(session.outcomes(), other.outcomes(), strict=True):
        assert torch.equal(mine.last_theta_P, theirs.last_theta_P)
        assert mine.history.values.tobytes() == theirs.history.values.tobytes()
        assert mine.history.epoch.tolist() == theirs.history.epoch.tolist()


def test_members_at_a_rung_are_reported_after_others_were_added():
    """A checkpoint may be saved after new members were added and before the next step."""
    settings = [make_settings(seed=seed, epochs=6) for seed in range(4)]
    session = TrialSession(trials(settings[:3], 2))
    session.advance(session.group)
    before = session.at_rungs()
    assert [(number, epoch) for number, epoch, _ in before] == [(0, 2), (1, 2), (2, 2)]
    session.add_trials(trials(settings[3:], 2))
    assert session.at_rungs() == before


def test_a_rung_promotes_the_best_fraction_of_all_trials():
    scores, rungs = RungScores(), Rungs.of(40, 4, 3, "val/accuracy")
    assert rungs.epochs == (4, 12, 36)
    promoted, needed = scores.judge(rungs, 4, {n: float(n) for n in range(9)})
    assert (promoted, needed) == ({0, 1, 2}, 2.0)
    promoted, _ = scores.judge(rungs, 4, {9: 0.5, 10: 5.0, 11: float("inf")})
    assert promoted == {9}  # of twelve the best four are 0, 9, 1, 2
    again = RungScores(scores.plain())
    assert again.plain() == scores.plain()
    assert again.judge(rungs, 4, {9: 0.5})[0] == {9}  # reported twice, counted once
    assert again.judge(rungs.from_rung(1), 12, {20: 7.0})[0] == {20}


def test_rungs_are_at_evaluations():
    assert Rungs.of(40, 4, 3, "val/loss", every=5).epochs == (5, 15)


@pytest.mark.parametrize("schedule", ["constant", "plateau", "cosine"])
def test_members_that_end_between_evaluations_equal_their_single_runs(schedule):
    """No other member is evaluated there, and what was measured since stays with its member."""
    lengths = [{"steps": 6}, {"steps": 6}, {"steps": 45}, {"epochs": 4}, {"epochs": 11}]
    settings = [
        make_settings(
            seed=seed,
            schedule=SCHEDULES[schedule](**({"patience": 1} if schedule == "plateau" else {})),
            evaluate_every=3,
            hidden=(4,),
            patience=2,
            optimizer=OPTIMIZERS["adam"](lr=0.01 * (seed + 1)),
            **length,
        )
        for seed, length in enumerate(lengths)
    ]
    settings = [dataclasses.replace(one, engine="eager") for one in settings]
    assert_equal_single_runs(dict(enumerate(train_population(settings))), settings)


class StopMember(Callback):
    """Ends a member after some steps, between two evaluations, where the group leaves it out."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def should_pause(self, session, group):
        return group.stepper.step == self.steps

    def on_pause(self, session, group):
        if group.stepper.step == self.steps:
            session.retire(0, "pruned")
            session.remove_ended(group)


@pytest.mark.parametrize("steps", [2, 5, 8])
def test_a_member_that_leaves_between_evaluations_takes_its_measurements_along(steps):
    settings = [
        make_settings(seed=seed, evaluate_every=3, epochs=9, optimizer=OPTIMIZERS["adam"](lr=lr))
        for seed, lr in enumerate((0.01, 0.02, 0.03))
    ]
    settings = [dataclasses.replace(one, engine="eager") for one in settings]
    session = make_session(settings, StopMember(steps))
    session.run()
    assert_equal_single_runs(dict(enumerate(session.outcomes(), start=1)), settings[1:])
