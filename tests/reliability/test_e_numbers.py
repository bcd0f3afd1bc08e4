"""Section E of the fault matrix, and the levels of determinism: numbers that go wrong, and numbers
that must come out the same.
"""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from building import AfterEachStep, build_component, make_session, make_settings, stored
from harness import FULL, QUICK, digest, record_measurement, row, size

import mlplab
from mlplab.cli import main
from mlplab.config.builder import build
from mlplab.config.composition import compose
from mlplab.optimizers import OPTIMIZERS
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints, newest
from mlplab.runs.signals import Signals
from mlplab.schedules import SCHEDULES
from mlplab.settings import Tracking
from mlplab.training.checkpoint import restore, unpack_rows
from mlplab.training.determinism import determinism
from mlplab.training.stopping import RUNNING, EarlyStopping


@row("E1")
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_e1_a_loss_that_is_no_number(optimizer, capfd):
    """Found at the step at which it happens, though only every fifth epoch is evaluated."""
    overrides = [
        *QUICK,
        "tracking.checkpoint_seconds=0",
        f"optimizer={optimizer}",
        "optimizer.lr=1e30",
        "activation=relu",
        "training.evaluate_every=5",
    ]
    assert main(["train", *overrides, "hydra.run.dir=run"]) == 3
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["status"] == "diverged"
    assert "the last finite train/loss was" in summary["reason"]
    assert int(summary["reason"].split("step ")[1].split(";")[0]) <= 4
    assert math.isfinite(summary["metrics"]["train/loss"])
    assert all(torch.isfinite(p).all() for p in mlplab.load("run").module().parameters())
    assert newest(Path("run/checkpoints"))[0] is not None
    assert main(["resume", "run"]) == 3  # nothing to go on with


@row("E2")
def test_e2_a_gradient_that_is_no_number_with_a_finite_loss(capfd):
    Path("parts.py").write_text(
        "from dataclasses import dataclass\n"
        "from mlplab.config import register\n"
        "from mlplab.network.activations import Activation\n"
        "@register('activation', 'trap')\n"
        "@dataclass(frozen=True)\n"
        "class Trap(Activation):\n"
        "    '''Its gradient is 0 times infinity below zero.'''\n"
        "    def __call__(self, x):\n"
        "        import torch\n"
        "        return torch.where(x > 0, (x * (x > 0)).sqrt(), torch.zeros_like(x))\n"
    )
    assert (
        main(["train", "--plugin", "parts.py", *QUICK, "activation=trap", "hydra.run.dir=run"]) == 3
    )
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["status"] == "diverged"
    from safetensors.torch import load_file

    assert all(value.isfinite().all() for value in load_file("run/weights.safetensors").values())


@row("E7")
def test_e7_all_members_dead():
    settings = [
        make_settings(
            seed=s,
            optimizer=build_component(OPTIMIZERS, "sgd", lr=1e30),
            activation="relu",
            epochs=1000,
            dtype="float32",
        )
        for s in range(6)
    ]
    session = make_session(settings)
    session.run()
    assert {outcome.status for outcome in session.outcomes()} == {"diverged"}
    assert session.groups[0].stepper.epoch <= 4


@row("E8")
@pytest.mark.parametrize(
    "values",
    [
        [math.nan, 2.0, 1.0, 3.0],
        [2.0, math.nan, 1.0, 3.0],
        [2.0, 1.0, 3.0, math.nan],
        [math.nan] * 4,
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_e8_a_metric_that_is_no_number_is_never_the_best(values, sign):
    theta = torch.zeros(1, 3)
    watch = EarlyStopping(theta, {}, torch.tensor([100]), torch.tensor([99]), 0.0)
    for step, value in enumerate(values, 1):
        watch.observe(
            torch.tensor([sign * value], dtype=torch.float64),
            theta + step,
            {},
            step,
            torch.zeros(1, dtype=torch.int64),
        )
    finite = {step: sign * value for step, value in enumerate(values, 1) if not math.isnan(value)}
    assert int(watch.best.step_K) == (min(finite, key=finite.get) if finite else 0)
    assert int(watch.state_K) == RUNNING
    since = len(values) - int(watch.best.step_K)
    assert (
        int(watch.evals_since_best_K) == since
    )  # each one that is no number counts as no improvement


SCHEDULED = {"plateau": {"patience": 1}, "one_cycle": {}, "cosine_restarts": {}, "multistep": {}}


def component_settings(kind, choice):
    return make_settings(
        seed=3,
        hidden=(4, 3),
        optimizer=choice if kind == "optimizer" else "adam",
        epochs=25,
        patience=None,
        schedule=(
            build_component(SCHEDULES, choice, **SCHEDULED.get(choice, {}))
            if kind == "schedule"
            else "constant"
        ),
        dtype="float32",
        layer={"dropout": 0.2, "normalization": "batch"},
    )


def finish(session):
    session.run()
    outcome = session.outcomes()[0]
    buffers = {f"buffer.{n}": v for n, v in outcome.buffers.items()}
    return {
        "theta": outcome.theta_P,
        "last": outcome.last_theta_P,
        **buffers,
    }, outcome.history.values


def every_step(settings, stops):
    """Stop and resume at each of these steps, through the bytes of a checkpoint; the results of
    each.
    """
    from mlplab.runs import tree_file

    settings = settings if isinstance(settings, list) else [settings]
    for stop in stops:
        kept = {}

        class Stop(Exception):
            pass

        def halt(session, group, stop=stop, kept=kept, Stop=Stop):
            if group.stepper.step == stop:
                session.read(group)
                kept["state"] = tree_file.dump(stored(group))
                raise Stop

        with contextlib.suppress(Stop):
            make_session(settings, AfterEachStep(halt)).run()
        if "state" not in kept:
            continue  # the last step: it is done
        tree = tree_file.parse(kept["state"])
        session = make_session(settings)
        restore(session.groups[0], tree["loop"], unpack_rows(tree["rows"]))
        yield stop, session


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        *(("optimizer", choice) for choice in sorted(OPTIMIZERS) if choice != "torch"),
        # The first step of an optimizer of torch imports its compiler, twenty seconds long.
        pytest.param("optimizer", "torch", marks=pytest.mark.campaign("kills")),
        *(("schedule", choice) for choice in sorted(SCHEDULES)),
    ],
    ids=str,
)
@row("A1", "E9")
@pytest.mark.campaign("kills", small=True)
@pytest.mark.timeout(1200)
def test_stop_and_resume_at_each_step(kind, choice):
    """Level D1: 100 steps, stopped and resumed at each of them (at each tenth with LBFGS): the same
    bits as never stopped.
    """
    settings = component_settings(kind, choice)
    whole = make_session([settings])
    expected, history = finish(whole)
    assert whole.groups[0].stepper.step == 100
    # By default one stop, inside the first epochs or later, another one for each name.
    names = sorted(OPTIMIZERS if kind == "optimizer" else SCHEDULES)
    is_early = names.index(choice) % 2
    every = 10 if choice == "torch" else 1  # a step of LBFGS is up to twenty of the others
    stops = [1 + len(choice) % 5 if is_early else 41 + 2 * len(choice)]
    stops = range(1, 101, every) if FULL else stops
    count = 0
    for stop, session in every_step(settings, stops):
        tensors, values = finish(session)
        assert all(torch.equal(tensors[name], expected[name]) for name in expected), stop
        np.testing.assert_array_equal(values, history)
        count += 1
    assert count == len(stops) - (100 in stops)
    record_measurement(
        "stop and resume at each step", kind=kind, choice=choice, stops=count, differing=0
    )


@row("E9")
@pytest.mark.campaign("kills", small=True)
def test_e9_a_population_with_dead_and_stopped_members_is_resumed():
    settings = [
        make_settings(
            seed=s,
            optimizer=build_component(OPTIMIZERS, "adam", lr=1e30 if s == 1 else 0.01),
            activation="relu",
            schedule=build_component(SCHEDULES, "plateau", patience=1),
            dtype="float32",
            steps=7 + 9 * s,
            patience=2 if s == 4 else None,
            layer={"dropout": 0.1},
        )
        for s in range(6)
    ]
    session = make_session(settings)
    session.run()
    expected = session.outcomes()
    assert {outcome.status for outcome in expected} == {"done", "diverged"}
    seen = 0
    for _, again in every_step(settings, range(3, 53, size(12, 1))):
        again.run()
        for mine, theirs in zip(again.outcomes(), expected, strict=True):
            assert (mine.status, mine.steps, mine.best_step) == (
                theirs.status,
                theirs.steps,
                theirs.best_step,
            )
            assert torch.equal(mine.theta_P, theirs.theta_P)
            assert torch.equal(mine.last_theta_P, theirs.last_theta_P)
            np.testing.assert_array_equal(mine.history.values, theirs.history.values)
        seen += 1
    assert seen > size(3, 45)


COMPONENTS = [
    ("theta", lambda s: s["now"].__setitem__("theta", s["now"]["theta"] + 0.01)),
    (
        "running statistics",
        lambda s: s["now"]["buffers"].update(
            {n: v * 0 + 1 for n, v in s["now"]["buffers"].items()}
        ),
    ),
    (
        "optimizer",
        lambda s: s["now"]["optimizer"].update(
            {n: v * 0 for n, v in s["now"]["optimizer"].items()}
        ),
    ),
    (
        "schedule",
        lambda s: s["now"]["schedule"].update(
            {n: v * 0 + (v == v) for n, v in s["now"]["schedule"].items()}
        ),
    ),
    ("step", lambda s: s.__setitem__("step", s["step"] - 4)),
    ("epoch", lambda s: s.__setitem__("epoch", s["epoch"] - 1)),
    ("batch", lambda s: s.__setitem__("batch", s["batch"] - 1)),
    ("rate of this epoch", lambda s: s.__setitem__("lr", 0.9)),
    (
        "best weights",
        lambda s: s["now"]["best"].__setitem__("theta", s["now"]["best"]["theta"] * 0),
    ),
    (
        "last weights",
        lambda s: s["now"]["last"].__setitem__("theta", s["now"]["last"]["theta"] * 0),
    ),
    (
        "best value",
        lambda s: s["now"]["watch"].__setitem__(
            "best_value_K", s["now"]["watch"]["best_value_K"] * 0 + 1e9
        ),
    ),
    (
        "patience",
        lambda s: s["now"]["watch"].__setitem__("since_K", s["now"]["watch"]["since_K"] + 30),
    ),
    (
        "who is alive",
        lambda s: s["now"]["watch"].__setitem__("state_K", s["now"]["watch"]["state_K"] * 0 + 2),
    ),
    (
        "objectives since the last evaluation",
        lambda s: s.__setitem__("objectives", [v * math.nan for v in s["objectives"]]),
    ),
]


@row("A1")
@pytest.mark.parametrize(("name", "drop"), COMPONENTS, ids=[name for name, _ in COMPONENTS])
def test_every_component_of_the_state_is_needed(name, drop):
    """Ablation: whatever is left out of the state, the result is another one, or it is refused."""
    settings = make_settings(
        seed=1,
        optimizer="adam",
        schedule=build_component(SCHEDULES, "plateau", patience=1, threshold=0.5),
        epochs=12,
        patience=9,
        dtype="float32",
        layer={"dropout": 0.2, "normalization": "batch"},
        evaluate_every=2,
        min_delta=5.0 if name in ("best weights", "patience", "best value") else 0.0,
    )
    expected, history = finish(make_session([settings]))
    from mlplab.runs import tree_file

    kept = {}

    def halt(session, group):
        if group.stepper.step == 14:
            session.read(group)
            kept["state"] = tree_file.dump(stored(group))
            raise KeyboardInterrupt

    interrupted = make_session([settings], AfterEachStep(halt))
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    tree = tree_file.parse(kept["state"])
    drop(tree["loop"])
    session = make_session([settings])
    try:
        restore(session.groups[0], tree["loop"], unpack_rows(tree["rows"]))
        if name == "last weights":  # they count where it ends before the next evaluation
            assert not torch.equal(
                session.outcomes()[0].last_theta_P, interrupted.outcomes()[0].last_theta_P
            )
            return
        tensors, values = finish(session)
    except Exception:
        assert name != "last weights"
        return
    same = (
        values.shape == history.shape
        and np.array_equal(values, history, equal_nan=True)
        and all(torch.equal(tensors[n], expected[n]) for n in expected)
    )
    assert not same, f"{name} is not needed, or not tested"


@row("E6")
def test_e6_members_leave_by_a_select(tmp_path):
    """No code of the training multiplies with who is alive: 0 times NaN is NaN."""
    source = Path(mlplab.__file__).parent
    for path in [*(source / "training").glob("*.py"), *(source / "optimizers").glob("*.py")]:
        text = path.read_text()
        assert "alive_K *" not in text
        assert "* alive" not in text
        assert "alive_K.float()" not in text


@pytest.mark.parametrize(
    "overrides",
    [
        QUICK,
        [*QUICK, "optimizer=nag", "model.dropout=0.3"],
        [*QUICK, "schedule=one_cycle", "training.shuffle=false"],
        [*QUICK, "model.normalization=layer", "optimizer=lion"],
    ],
    ids=str,
)
@row("D25")
@pytest.mark.campaign("fuzz", small=True)
def test_level_d0_repeated(overrides, tmp_path):
    digests = {digest(mlplab.run(overrides, tmp_path / str(i)).folder) for i in range(size(3, 25))}
    assert len(digests) == 1


def test_strict_determinism_is_for_the_run_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    with determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32
        import os

        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert (
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
    ) == before
    strict, free = (
        mlplab.run([*QUICK, f"deterministic={value}"], tmp_path / value)
        for value in ("true", "false")
    )
    assert digest(strict.folder) == digest(free.folder)


@row("B14")
def test_the_fingerprint_is_stored(tmp_path):
    mlplab.run([*QUICK, "tracking.checkpoint_seconds=0"], tmp_path / "run")
    fingerprint = newest(tmp_path / "run" / "checkpoints")[0].manifest["fingerprint"]
    assert {
        "torch",
        "python",
        "cpu",
        "threads",
        "device",
        "deterministic",
        "matmul_precision",
        "dtype",
        "members",
        "commit",
    } <= set(fingerprint)
    assert fingerprint["threads"] == torch.get_num_threads()


@pytest.mark.campaign("timing")
@row("A1")
def test_checkpoints_cost_little(tmp_path):
    """A save of a megabyte takes 20 ms in the median; saving every 30 s is a hundredth of a run at
    the very most.
    """
    import time

    settings = build(
        compose(["dataset=digits", "model.hidden=[300,100]", "training.epochs=1", "tracking=off"])
    )
    session = make_session([settings])
    session.run()
    (group,) = session.groups
    (tmp_path / "c").mkdir()
    keeper = CheckpointCallback(Checkpoints(tmp_path / "c", {}), Tracking(), Signals())
    took = []
    for _ in range(15):
        group.stepper.step += 1
        began = time.perf_counter()
        keeper.save(session, group)
        took.append(time.perf_counter() - began)
    megabytes = next((tmp_path / "c").glob("*.safetensors")).stat().st_size / 1e6
    median = float(np.median(took))
    record_measurement(
        "a save",
        megabytes=round(megabytes, 2),
        median_ms=round(1000 * median, 1),
        share_of_30_s=round(median / 30, 6),
    )
    assert megabytes > 1
    assert median < 0.02 * max(1.0, megabytes)
    assert median / 30 < 0.01
