"""The engines on the command line: which one trains what, what is recorded, and how it resumes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import cli_process
import numpy as np
import pytest
from harness import wait_for
from tiers import in_campaign

import mlplab
from mlplab import sklearn
from mlplab.cli import main
from mlplab.config import settings_from_overrides
from mlplab.native import library, library_cache, support
from mlplab.training import PreparedMember, build_population, prepare_members
from mlplab.training.eager import EagerStepper
from mlplab.training.step_timing import time_native_work, time_steps
from mlplab.training.stretches import step_work

SMALL = [
    "dataset=circles",
    "dataset.num_samples=80",
    "training.epochs=6",
    "tracking=summary",
    "engine=native",
]


UNSUPPORTED = [
    ("optimizer=torch", "optimizer=torch (its steps are those of a class of torch.optim)"),
]


@pytest.mark.parametrize(("override", "named"), UNSUPPORTED)
def test_what_is_not_supported_is_refused_before_training(override, named, capsys):
    assert main(["train", *SMALL, override]) == 2
    error = capsys.readouterr().err
    assert f"engine=native does not support {named}" in error
    assert "engine=eager" in error
    assert not Path("outputs").exists()


def test_without_a_compiler_the_reason_is_named_and_eager_trains(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(support, "kernel", library.kernel.__wrapped__)  # without its cache
    assert main(["train", *SMALL]) == 2
    assert "there is no C compiler on the PATH" in capsys.readouterr().err
    assert main(["train", *SMALL[:-1], "hydra.run.dir=run"]) == 0
    assert summary("run")["engine"] == "eager"
    assert "engine eager (there is no C compiler" in Path("run", "log.txt").read_text()
    assert main(["plan", *SMALL[:-1]]) == 0
    assert "engine=eager: there is no C compiler" in capsys.readouterr().out
    assert not list(library_cache.folder().glob("*.so"))


def test_a_missing_compiler_is_reported_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(support, "kernel", library.kernel.__wrapped__)
    for times in (1, 0):
        support._unavailable.cache_clear()  # as in another process
        assert main(["train", *SMALL[:-1]]) == 0
        assert capsys.readouterr().err.count("there is no C compiler") == times


def summary(folder) -> dict[str, object]:
    return json.loads((Path(folder) / "summary.json").read_text())


def test_the_engine_is_recorded(capsys):
    for engine in ("native", "eager"):
        assert main(["train", *SMALL[:-1], f"engine={engine}", f"hydra.run.dir={engine}"]) == 0
        assert (", native engine" in capsys.readouterr().out) == (engine == "native")
        assert summary(engine)["engine"] == engine
        assert json.loads(Path(engine, "provenance.json").read_text())["engine"] == engine


def member(*overrides) -> PreparedMember:
    return prepare_members([settings_from_overrides([*SMALL[:-1], *overrides])])[0]


def test_auto_is_native_for_what_it_supports():
    assert member().settings.engine == "native"
    assert member().eager_reason is None


@pytest.mark.parametrize(("override", "named"), UNSUPPORTED)
def test_auto_is_eager_for_the_rest_and_says_why(override, named):
    assert member(override).settings.engine == "eager"
    assert member(override).eager_reason == f"native does not support {named}"


def test_auto_is_eager_for_batch_normalization_over_several_blocks():
    one, several = (f"training.batch_size={size}" for size in (32, 33))
    assert member("model.normalization=batch", one).eager_reason is None
    assert member("model.normalization=batch", several).eager_reason == (
        "native does not support model.normalization=batch with more than 32 examples per update"
    )


def test_auto_is_eager_for_large_networks_and_several_processes(monkeypatch):
    large = member("model.hidden=2000-2000", "training=batch")
    assert large.eager_reason == "torch is faster for 4,008,000 weights and batches of 48"
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    assert member().eager_reason == "several processes train one network"


def test_a_request_decides():
    assert member("engine=eager").settings.engine == "eager"
    assert member("engine=eager").eager_reason == "as requested"
    assert member("engine=native", "model.hidden=2000-2000").settings.engine == "native"


def test_the_engine_of_a_member_does_not_depend_on_the_others():
    overrides = ["activation=tanh", "optimizer=torch", "model.hidden=[]"]
    settings = [settings_from_overrides([*SMALL[:-1], override]) for override in overrides]
    together = [one.settings.engine for one in prepare_members(settings)]
    assert together == [member(override).settings.engine for override in overrides]
    assert together == ["native", "eager", "native"]


def test_the_list_of_choices_and_their_files_say_which_engine_trains_them(capsys):
    for group in ("activation", "loss", "schedule"):
        assert main(["list", group]) == 0
        assert "engine=eager" not in capsys.readouterr().out
    supported = {"optimizer": "adam", "schedule": "step"}
    for group, name in {"optimizer": "torch"}.items():
        assert main(["list", group]) == 0
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith("engine=eager trains ")
        names = line.removeprefix("engine=eager trains ").partition(";")[0].split(", ")
        assert name in names
        assert supported[group] not in names
        assert main(["list", group, name]) == 0
        assert "Trained by engine=eager" in capsys.readouterr().out


def test_a_run_with_auto_is_resumed_by_the_engine_of_its_checkpoint(monkeypatch, tmp_path, capsys):
    run = mlplab.run([*SMALL[:-1], "hydra.run.dir=run"])
    assert summary(run.folder)["engine"] == "native"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        patch.setattr(support, "kernel", library.kernel.__wrapped__)
        assert main(["resume", "run", "training.epochs=9"]) == 2  # another machine has no compiler
        assert "engine=eager" in capsys.readouterr().err
        assert main(["resume", "run", "training.epochs=9", "engine=eager"]) == 0
    assert summary(run.folder)["engine"] == "eager"
    assert main(["resume", "run", "training.epochs=12"]) == 0
    assert summary(run.folder)["engine"] == "eager"


def test_a_run_is_lengthened_by_its_engine_with_the_same_bits():
    run = mlplab.run([*SMALL, "hydra.run.dir=run"])
    longer = [line if "epochs" not in line else "training.epochs=9" for line in SMALL]
    reference = mlplab.run([*longer, "hydra.run.dir=reference"])
    assert main(["resume", "run", "training.epochs=9"]) == 0
    assert summary(run.folder)["steps"] == summary(reference.folder)["steps"]
    assert summary(run.folder)["metrics"] == summary(reference.folder)["metrics"]
    assert "resume_exact" not in summary(run.folder)


@pytest.mark.parametrize(("engine", "other"), [("native", "eager"), ("eager", "native")])
def test_a_run_resumes_under_the_other_engine_only_if_that_is_asked_for(engine, other, capsys):
    run = mlplab.run([*SMALL[:-1], f"engine={engine}", "hydra.run.dir=run"])
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace(f"engine: {engine}", f"engine: {other}"))
    assert main(["resume", "run", "training.epochs=9"]) == 2
    assert "engine" in capsys.readouterr().err
    assert main(["resume", "run", "training.epochs=9", f"engine={other}"]) == 0
    assert summary(run.folder)["engine"] == other
    assert summary(run.folder)["resume_exact"] is False


def test_a_sweep_with_both_engines(capsys):
    assert main(["train", "-m", *SMALL[:-1], "engine=native,eager", "seeds=2"]) == 0
    (sweep,) = Path("outputs/sweeps").glob("*/*")
    results = [summary(folder) for folder in sorted((sweep / "jobs").iterdir())]
    assert [result["engine"] for result in results] == ["native"] * 2 + ["eager"] * 2
    for native, eager in zip(results[:2], results[2:], strict=True):
        for name, value in native["metrics"].items():
            assert value == pytest.approx(eager["metrics"][name], rel=1e-4)


@pytest.mark.campaign("timing")
def test_the_plan_estimates_the_time_of_the_engine():
    built = []
    for engine in ("native", "eager"):
        overrides = [*SMALL[:-1], "training.epochs=100000", f"engine={engine}"]
        built.append(build_population(prepare_members([settings_from_overrides(overrides)]))[0])
    native = time_native_work(built[:1]) * step_work(built[0])
    assert 0 < native < sum(time_steps(built[1]))


def test_the_log_says_which_engine_trains():
    run = mlplab.run([*SMALL, "hydra.run.dir=run"])
    assert "engine native" in (run.folder / "log.txt").read_text()


def jobs_of_sweep(arguments) -> list[dict[str, object]]:
    assert main(["train", "-m", *arguments]) == 0
    (sweep,) = Path(next(a for a in arguments if "outputs=" in a).partition("=")[2]).glob("*/*/*")
    return [summary(folder) for folder in sorted((sweep / "jobs").iterdir())]


@pytest.mark.parametrize(
    "arguments",
    [
        ["dataset=iris", "validation=kfold", "validation.folds=4"],  # rows of other sizes
        ["dataset=linnerud", "seeds=2"],  # three targets in their own units
        ["dataset=digits", "seeds=1", "training.epochs=2"],
        ["dataset=circles", "dataset.num_samples=40", "loss.class_weights=balanced", "seeds=2"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_metrics_of_both_engines_agree(arguments):
    common = ["training.epochs=5", "tracking=summary", "dtype=float64", *arguments]
    if not any(a.startswith("dataset=linnerud") for a in arguments):
        common.append("loss=cross_entropy")
    native, eager = (
        jobs_of_sweep([*common, f"engine={engine}", f"outputs={engine}"])
        for engine in ("native", "eager")
    )
    assert len(native) == len(eager) > 0
    for mine, theirs in zip(native, eager, strict=True):
        assert mine["metrics"] == pytest.approx(theirs["metrics"], rel=1e-9, abs=1e-9, nan_ok=True)
        assert mine["best_epoch"] == theirs["best_epoch"]


@pytest.mark.slow
def test_a_search_with_pruning_decides_as_with_the_eager_engine():
    search = [
        *("dataset=circles", "dataset.num_samples=60", "training.epochs=9", "tracking=summary"),
        *("sweep.trials=8", "sweep.sampler=random", "sweep.pruning=halving", "dtype=float64"),
        "+sweep.space={optimizer.lr: 'interval(0.001,0.1)'}",
    ]
    native, eager = (
        jobs_of_sweep([*search, f"engine={engine}", f"outputs={engine}"])
        for engine in ("native", "eager")
    )
    assert [job["status"] for job in native] == [job["status"] for job in eager]
    assert {job["status"] for job in native} == {"done", "pruned"}
    for mine, theirs in zip(native, eager, strict=True):
        assert mine["epochs"] == theirs["epochs"]


@pytest.mark.campaign("kills", small=True)
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0, in_campaign("kills", 0.1)])
def test_a_stopped_run_continues_with_the_same_bits(stop, seconds):
    """The run has no end, so that the signal arrives in its middle; the resumed one has."""
    common = [*SMALL[:2], *SMALL[3:], "training.evaluate_every=2"]
    endless = [
        *("training.epochs=100000000", "hydra.run.dir=run"),
        f"tracking.checkpoint_seconds={seconds}",
    ]
    process = cli_process.start("train", *common, *endless)
    checkpoints = Path("run/checkpoints")
    wait_for(lambda: len(list(checkpoints.glob("state-*.json"))) > 0)
    process.send_signal(stop)
    process.communicate()
    assert process.returncode == (-9 if stop == signal.SIGKILL else 128 + stop)
    step = max(
        int(path.stem.split("-")[1]) for path in Path("run/checkpoints").glob("state-*.json")
    )
    length = f"training.steps={step + 11}"
    assert main(["resume", "run", length]) == 0
    assert main(["train", *common, length, "hydra.run.dir=reference"]) == 0
    assert summary("run")["metrics"] == summary("reference")["metrics"]
    for name in ("weights.safetensors", "checkpoints/last.safetensors"):
        assert (Path("run") / name).read_bytes() == (Path("reference") / name).read_bytes()


def test_everything_that_trains_takes_it(monkeypatch, tmp_path):
    """Estimators, ensembles, fits on arrays, cross-validations and searches."""

    def refused(*_, **__):
        raise AssertionError("torch trains")

    monkeypatch.setattr(EagerStepper, "__init__", refused)
    x = np.random.default_rng(0).normal(size=(60, 2))
    y = (x[:, 0] > 0).astype(int)
    fields = {"hidden": (4,), "epochs": 2}
    sklearn.MLPClassifier(**fields, n_members=3).fit(x, y).partial_fit(x, y)
    sklearn.MLPClassifier(**fields, early_stopping=True).fit(x, y)
    sklearn.MLPRegressor(**fields).fit(x, x)
    small = ["model.hidden=4", "training.epochs=2", "tracking=off"]
    mlplab.fit(x, y, small, folder=tmp_path / "fit")
    on_moons = ["dataset=moons", *small, "training.epochs=4"]
    mlplab.sweep([*on_moons, "validation=kfold"], tmp_path / "folds")
    rates = ["optimizer.lr=interval(0.001,0.1)", "sweep.trials=4", "sweep.pruning=halving"]
    assert main(["train", *on_moons, *rates, f"hydra.sweep.dir={tmp_path}/search"]) == 0
