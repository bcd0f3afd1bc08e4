"""Members that come while others train, and those that leave: nobody notices, to 1e-10 in
float64.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from building import make_settings, part

from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.sweeps.search.successive_halving import Rungs, RungScores
from mlplab.sweeps.search.trial_population import Trial, TrialPopulation
from mlplab.training import Loop, build_population, prepare_members, train_population
from mlplab.training.checkpoint import capture, pack_rows, restore, unpack_rows

EXACT = {"rtol": 0, "atol": 1e-10}
TOGETHER = [word for word, kind in OPTIMIZERS.items() if not kind.single_network]


def trials(settings, *epochs):
    return [
        Trial(None, member, Rungs(epochs, 3, "train/loss")) for member in prepare_members(settings)
    ]


def raced(first, later, at=(2,), change=lambda cohort: None):
    """Outcomes of members of which some come at an event at epoch `at`; whoever ends leaves at
    once.
    """
    cohort, found = TrialPopulation(trials(first, *at)), {}
    waiting = trials(later, *at)
    while cohort.trials or waiting:
        cohort.advance()
        change(cohort)
        found |= {trial.member.settings.seed: outcome for trial, outcome in cohort.leave()}
        if waiting and cohort.trials:
            cohort.admit(waiting)
            waiting = []
    return found


def assert_like_alone(found, settings):
    for own in settings:
        alone, outcome = train_population([own])[0], found[own.seed]
        torch.testing.assert_close(outcome.last_theta_P, alone.last_theta_P, **EXACT)
        torch.testing.assert_close(outcome.theta_P, alone.theta_P, **EXACT)
        assert (outcome.status, outcome.epochs, outcome.steps) == (
            alone.status,
            alone.epochs,
            alone.steps,
        )
        assert (outcome.best_epoch, outcome.best_step) == (alone.best_epoch, alone.best_step)
        assert outcome.history.epoch.tolist() == alone.history.epoch.tolist()
        assert outcome.history.step.tolist() == alone.history.step.tolist()
        torch.testing.assert_close(
            torch.from_numpy(outcome.history.values),
            torch.from_numpy(alone.history.values),
            rtol=1e-8,
            atol=1e-8,
        )


@pytest.mark.parametrize("word", TOGETHER)
def test_who_comes_late_equals_its_lone_run_for_every_optimizer(word):
    settings = [
        make_settings(
            seed=seed, optimizer=part(OPTIMIZERS, word, lr=0.01), epochs=6, schedule="cosine"
        )
        for seed in range(5)
    ]
    assert_like_alone(raced(settings[:3], settings[3:]), settings)


@pytest.mark.parametrize("word", SCHEDULES)
def test_who_comes_late_equals_its_lone_run_for_every_schedule(word):
    schedule = part(SCHEDULES, word, warmup=2.0)
    settings = [
        make_settings(
            seed=seed,
            optimizer=part(OPTIMIZERS, "adam", lr=0.01),
            epochs=6 + seed,
            schedule=schedule,
        )
        for seed in range(4)
    ]
    assert_like_alone(raced(settings[:2], settings[2:]), settings)


def test_dropout_and_running_statistics_follow_each_member_s_own_time():
    layer = {"dropout": 0.2, "normalization": "batch"}
    settings = [make_settings(seed=seed, layer=layer, epochs=6) for seed in range(4)]
    assert_like_alone(raced(settings[:2], settings[2:]), settings)


def test_each_may_have_its_own_numbers_length_and_patience():
    def own(seed):
        base = make_settings(
            seed=seed,
            optimizer=part(OPTIMIZERS, "adam", lr=0.003 * (1 + seed)),
            epochs=4 + 3 * seed,
            patience=2 + seed,
        )
        return dataclasses.replace(
            base, dataset=dataclasses.replace(base.dataset, noise=0.01 * seed)
        )

    settings = [own(seed) for seed in range(6)]
    assert_like_alone(raced(settings[:3], settings[3:], at=(2, 4)), settings)


def test_one_that_diverges_late_costs_its_neighbors_nothing():
    settings = [
        make_settings(seed=seed, optimizer=part(OPTIMIZERS, "sgd", lr=0.1), epochs=6)
        for seed in range(4)
    ]
    sick = make_settings(seed=9, optimizer=part(OPTIMIZERS, "sgd", lr=1e308), epochs=6)
    found = raced(settings[:2], [*settings[2:], sick])
    alone = train_population([sick])[0]
    assert (found[9].status, found[9].reason, found[9].steps) == (
        alone.status,
        alone.reason,
        alone.steps,
    )
    assert_like_alone(found, settings)


def test_who_is_pruned_leaves_with_what_it_was_and_the_others_go_on():
    settings = [make_settings(seed=seed, epochs=6) for seed in range(4)]

    def prune(cohort):
        for k, epoch, _ in cohort.at_rungs():
            if cohort.member(k).member.settings.seed == 1:
                cohort.prune(k, f"at epoch {epoch}")

    found = raced(settings[:3], settings[3:], change=prune)
    assert (found[1].status, found[1].reason, found[1].epochs) == ("pruned", "at epoch 2", 2)
    assert found[1].history.epoch.tolist() == [0, 1, 2]
    assert_like_alone(
        {seed: outcome for seed, outcome in found.items() if seed != 1},
        [settings[0], *settings[2:]],
    )


def test_a_checkpoint_of_members_at_different_epochs_goes_on_to_the_same_bits():
    settings = [
        make_settings(seed=seed, epochs=6, dtype="float32", layer={"dropout": 0.1})
        for seed in range(4)
    ]
    cohort = TrialPopulation(trials(settings[:2], 2))
    cohort.advance()
    cohort.admit(trials(settings[2:], 2))
    cohort.advance()
    cohort.loop.read()
    tree, rows = capture(cohort.loop), unpack_rows(pack_rows(cohort.loop.history_buffer.rows))
    tree = torch.utils._pytree.tree_map(
        lambda value: value.clone() if isinstance(value, torch.Tensor) else value, tree
    )
    other = Loop(build_population(prepare_members(settings))[0])
    restore(other, tree, rows)
    cohort.loop.pause_epoch = None
    for loop in (cohort.loop, other):
        loop.run()
    for mine, theirs in zip(cohort.loop.outcomes(), other.outcomes(), strict=True):
        assert torch.equal(mine.last_theta_P, theirs.last_theta_P)
        assert mine.history.values.tobytes() == theirs.history.values.tobytes()
        assert mine.history.epoch.tolist() == theirs.history.epoch.tolist()


def test_who_stands_at_a_rung_is_told_also_after_others_came():
    """So a cohort may be found that was saved after new members came and before its next step."""
    settings = [make_settings(seed=seed, epochs=6) for seed in range(4)]
    cohort = TrialPopulation(trials(settings[:3], 2))
    cohort.advance()
    before = cohort.at_rungs()
    assert [(k, epoch) for k, epoch, _ in before] == [(0, 2), (1, 2), (2, 2)]
    cohort.admit(trials(settings[3:], 2))
    assert cohort.at_rungs() == before


def test_a_rung_keeps_the_best_share_of_all_that_ever_came():
    tally, rungs = RungScores(), Rungs.of(40, 4, 3, "val/accuracy")
    assert rungs.epochs == (4, 12, 36)
    stay, needed = tally.judge(rungs, 4, {n: float(n) for n in range(9)})
    assert (stay, needed) == ({0, 1, 2}, 2.0)
    stay, _ = tally.judge(rungs, 4, {9: 0.5, 10: 5.0, 11: float("inf")})
    assert stay == {9}  # of twelve the best four are 0, 9, 1, 2
    again = RungScores(tally.plain())
    assert again.plain() == tally.plain()
    assert again.judge(rungs, 4, {9: 0.5})[0] == {9}  # told twice, counted once
    assert again.judge(rungs.from_rung(1), 12, {20: 7.0})[0] == {20}


def test_rungs_lie_where_there_is_an_evaluation():
    assert Rungs.of(40, 4, 3, "val/loss", every=5).epochs == (5, 15)
