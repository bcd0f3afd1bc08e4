"""Callbacks from users: of runs, sweeps and estimators, and of sessions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from building import AfterEachStep, make_session, make_settings, stored

import mlplab
from mlplab.errors import IncompatibleSettingsError
from mlplab.runs.run import load
from mlplab.sklearn import MLPClassifier, MLPRegressor
from mlplab.training import Session, prepare_members, train_population
from mlplab.training.checkpoint import restore, unpack_rows

DOCS = Path(__file__).parents[2] / "docs" / "sweeps.md"
QUICK = ["experiment=xor_mlp", "tracking=scalars", "training.epochs=40", "seed=1"]


@pytest.fixture(scope="module")
def documented():
    """The classes of the documented example, without the run at its end."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "mlplab.Callback" in block]
    names = {}
    exec(code[: code.index("\n\n\nrun = ")], names)
    return names


def scalars(folder, tag):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


def test_the_documented_callback_follows_a_run(documented, tmp_path):
    run = mlplab.run(QUICK, tmp_path / "run", callbacks=[documented["StopWhenGood"]()])
    assert run.status == "done"
    assert re.fullmatch(r"val/accuracy reached 0\.9\d+|.* 1\.000", run.summary["reason"])
    history = run.history
    assert (history["val/accuracy"][:-1] < 0.95).all()
    assert history["val/accuracy"][-1] >= 0.95
    logged = scalars(run.folder, "gap/accuracy")
    assert list(logged) == history.step.tolist()
    expected = history["train/accuracy"] - history["val/accuracy"]
    np.testing.assert_allclose(list(logged.values()), expected, atol=1e-6)
    assert "gap/accuracy" not in (run.folder / "metrics.csv").read_text()


def test_the_documented_callback_follows_a_fit(documented, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    overrides = ["tracking=scalars", "training.epochs=40", "optimizer.lr=0.05"]
    callback = documented["StopWhenGood"]()
    run = mlplab.fit(X, X[:, 0] > 0, overrides, folder=tmp_path / "run", callbacks=[callback])
    assert run.summary["reason"].startswith("val/accuracy reached")
    assert run.history["epoch"][-1] < 40
    gap = run.history["train/accuracy"] - run.history["val/accuracy"]
    logged = scalars(run.folder, "gap/accuracy")
    assert list(logged) == run.history.step.tolist()
    np.testing.assert_allclose(list(logged.values()), gap, atol=1e-6)


def test_the_documented_callback_follows_a_sweep(documented, tmp_path):
    overrides = [*QUICK[:-1], "seed=1,2", "model.hidden=4,6"]
    callback = documented["StopWhenGood"]()
    table = mlplab.sweep(overrides, tmp_path / "sweep", callbacks=[callback])
    assert list(table["status"]) == ["done"] * 4
    for number in range(4):
        job = load(tmp_path / "sweep" / "jobs" / str(number))
        gap = job.history["train/accuracy"] - job.history["val/accuracy"]
        logged = scalars(job.folder, "gap/accuracy")
        assert list(logged) == job.history.step.tolist()
        np.testing.assert_allclose(list(logged.values()), gap, atol=1e-6)
        reached = job.history["val/accuracy"][-1] >= 0.95
        assert job.summary["reason"].startswith("val/accuracy reached") == reached


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_callback_follows_an_estimator(n_members, tmp_path):
    class StopEarly(mlplab.Callback):
        def on_evaluation(self, session, evaluation):
            session.log("twice/loss", 2 * evaluation["train/loss"])
            if evaluation.epoch == 20:
                for member in evaluation.members:
                    session.stop(member, "enough")

    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    common = {"epochs": 50, "n_members": n_members, "random_state": 0}
    for model, y in (
        (MLPClassifier(**common, log_dir=tmp_path / "classes"), (X[:, 0] > 0).astype(int)),
        (MLPRegressor(**common, log_dir=tmp_path / "values"), X[:, 0] * X[:, 1]),
    ):
        model.set_params(callbacks=[StopEarly()]).fit(X, y)
        assert model.n_iter_ == 20
        assert len(model.loss_curve_) == 20
        assert len(model.history_["twice/loss"]) == 5  # the start, and every fifth epoch
        folders = [model.log_dir]
        if n_members > 1:
            folders = [model.log_dir / f"member_{k}" for k in range(n_members)]
        read = [scalars(folder, "twice/loss") for folder in folders]
        mean = np.mean([list(values.values()) for values in read], axis=0)
        np.testing.assert_allclose(mean, model.history_["twice/loss"], rtol=1e-6)
        loss = scalars(folders[0], "train/loss")
        np.testing.assert_allclose(2 * np.array(list(loss.values())), list(read[0].values()))


def test_partial_fits_continue_what_was_logged(tmp_path):
    class Log(mlplab.Callback):
        def on_evaluation(self, session, evaluation):
            session.log("epoch", evaluation.epoch)

    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    model = MLPClassifier(callbacks=[Log()], log_dir=tmp_path, random_state=0)
    for _ in range(3):
        model.partial_fit(X, (X[:, 0] > 0).astype(int), classes=[0, 1])
    assert model.history_["epoch"] == [0, 1, 2, 3]
    assert len(model.loss_curve_) == 3
    assert list(scalars(tmp_path, "epoch").values()) == [0, 1, 2, 3]


class Failing(mlplab.Callback):
    def on_evaluation(self, session, evaluation):
        if evaluation.epoch == 3:
            raise RuntimeError("the callback is wrong")


def test_an_exception_in_a_callback_fails_the_run(tmp_path):
    with pytest.raises(RuntimeError, match="the callback is wrong"):
        mlplab.run(QUICK, tmp_path / "run", callbacks=[Failing()])
    assert '"status": "failed"' in (tmp_path / "run" / "summary.json").read_text()
    assert "RuntimeError: the callback is wrong" in (tmp_path / "run" / "error.txt").read_text()
    table = mlplab.sweep([*QUICK[:-1], "seed=1,2"], tmp_path / "sweep", callbacks=[Failing()])
    assert list(table["status"]) == ["failed"] * 2


def test_a_sweep_in_other_processes_refuses_callbacks(tmp_path):
    with pytest.raises(IncompatibleSettingsError, match=r"set sweep\.workers=1"):
        mlplab.sweep(
            [*QUICK[:-1], "seed=1,2", "sweep.workers=2"], tmp_path / "s", callbacks=[Failing()]
        )
    assert not (tmp_path / "s").exists()


class Follow(mlplab.Callback):
    """Notes what it is called with, and saves an artifact."""

    def __init__(self):
        self.calls = []

    def on_start(self, session):
        self.calls.append("start")

    def on_evaluation(self, session, evaluation):
        self.calls.append(evaluation.epoch)

    def on_checkpoint(self, session):
        self.calls.append("checkpoint")
        session.save_artifact("note.txt", f"after {len(self.calls)} calls")

    def on_end(self, session):
        self.calls.append("end")


def test_callbacks_are_called_in_order_and_save_artifacts(tmp_path):
    follow = Follow()
    overrides = [*QUICK, "training.epochs=4", "tracking.checkpoint_epochs=2"]
    run = mlplab.run(overrides, tmp_path / "run", callbacks=[follow])
    assert follow.calls == ["start", 0, 1, 2, "checkpoint", 3, 4, "end", "checkpoint"]
    assert (run.folder / "artifacts" / "note.txt").read_text() == "after 9 calls"
    follow = Follow()
    overrides = [*QUICK[:-1], "seed=1,2", *overrides[-2:]]
    mlplab.sweep(overrides, tmp_path / "sweep", callbacks=[follow])
    job = tmp_path / "sweep" / "jobs" / "0"
    assert (job / "artifacts" / "note.txt").read_text() == f"after {len(follow.calls)} calls"


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd"])
def test_an_artifact_needs_the_name_of_a_file(name):
    session = make_session([make_settings(epochs=1)])
    with pytest.raises(ValueError, match="not the name of a file"):
        session.save_artifact(name, "")


def assert_same(outcome, settings):
    (single,) = train_population([settings])
    torch.testing.assert_close(outcome.last_theta_P, single.last_theta_P, rtol=0, atol=1e-10)
    torch.testing.assert_close(outcome.theta_P, single.theta_P, rtol=0, atol=1e-10)
    assert (outcome.status, outcome.steps) == (single.status, single.steps)
    assert outcome.history.step.tolist() == single.history.step.tolist()


def test_members_of_one_session_may_differ_in_structure_length_and_optimizer():
    settings = [
        make_settings(seed=0, hidden=(3,), epochs=4),
        make_settings(seed=1, hidden=(6, 6), epochs=7, optimizer="sgd"),
        make_settings(seed=2, hidden=(3,), epochs=5),
    ]
    session = Session.of(prepare_members(settings))
    assert [group.numbers for group in session.groups] == [[0, 2], [1]]
    session.run()
    for outcome, member in zip(session.outcomes(), settings, strict=True):
        assert_same(outcome, member)


def test_callbacks_admit_and_retire_members():
    settings = [make_settings(seed=seed, epochs=6) for seed in range(3)]
    other = make_settings(seed=3, hidden=(4,), epochs=6)

    class Replace(mlplab.Callback):
        def __init__(self):
            self.epochs = {}

        def on_evaluation(self, session, evaluation):
            for member in evaluation.members.tolist():
                self.epochs.setdefault(member, []).append(evaluation.epoch)
            if evaluation.epoch == 2 and 1 in evaluation.members:
                session.retire(1, "too slow")
                session.admit(prepare_members([settings[2], other]))

    replace = Replace()
    session = Session.of(prepare_members(settings[:2]), [replace])
    session.run()
    outcomes = session.outcomes()
    assert (outcomes[1].status, outcomes[1].reason, outcomes[1].epochs) == ("pruned", "too slow", 2)
    for outcome, member in zip(
        (outcomes[0], outcomes[2], outcomes[3]), (settings[0], settings[2], other), strict=True
    ):
        assert_same(outcome, member)
    assert replace.epochs == {
        0: list(range(7)),
        1: [0, 1, 2],
        2: list(range(7)),
        3: list(range(7)),
    }


def test_a_run_does_not_admit_members(tmp_path):
    class Admit(mlplab.Callback):
        def on_start(self, session):
            session.admit(list(session.members.values()))

    with pytest.raises(ValueError, match="members cannot be admitted"):
        mlplab.run(QUICK, tmp_path / "run", callbacks=[Admit()])


def test_a_checkpoint_includes_what_was_logged():
    class Log(mlplab.Callback):
        def on_evaluation(self, session, evaluation):
            session.log("loss", evaluation["train/loss"])
            session.save_artifact("epoch", str(evaluation.epoch), member=1)
            if evaluation.epoch == 2:
                session.stop(0, "enough")

    def halt(session, group):
        if group.stepper.step == 15:
            session.read(group)
            raise KeyboardInterrupt

    settings = [make_settings(seed=seed, epochs=8) for seed in range(2)]
    whole = make_session(settings, Log())
    whole.run()
    halted = make_session(settings, Log(), AfterEachStep(halt))
    with pytest.raises(KeyboardInterrupt):
        halted.run()
    (group,) = halted.groups
    state = stored(group)
    resumed = make_session(settings, Log())
    restore(resumed.groups[0], state["loop"], unpack_rows(state["rows"]))
    resumed.run()
    for mine, expected in zip(resumed.outcomes(), whole.outcomes(), strict=True):
        assert (mine.status, mine.reason) == (expected.status, expected.reason)
        rows = mine.logged.scalars["loss"], expected.logged.scalars["loss"]
        assert [row[:2] for row in rows[0]] == [row[:2] for row in rows[1]]
        assert mine.logged.artifacts == expected.logged.artifacts
    assert resumed.outcomes()[0].reason == "enough"
    assert resumed.outcomes()[1].logged.artifacts == {"epoch": b"8"}


@pytest.mark.parametrize(("value", "logged"), [(3, [3.0, 3.0]), (torch.tensor([1, 2]), [1.0, 2.0])])
def test_a_scalar_has_a_value_or_one_for_each_member(value, logged):
    class Log(mlplab.Callback):
        def on_start(self, session):
            session.log("value", value)
            with pytest.raises(ValueError, match="3 values for 2 members"):
                session.log("value", [1, 2, 3])

    session = make_session([make_settings(seed=seed, epochs=1) for seed in range(2)], Log())
    session.run()
    rows = [outcome.logged.scalars["value"] for outcome in session.outcomes()]
    assert [(step, value) for ((step, value, _),) in rows] == [(0, value) for value in logged]
