"""Sweeps end to end: job folders equal those of single runs, a failing job does not affect the
others, and no job is trained twice.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import yaml
from cli_process import run, start
from drawing import draw_only, use_few_dots
from harness import FULL, size, wait_for
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from pauses import pause, wait_until_paused
from tiers import in_campaign

import mlplab
from mlplab.cli import main
from mlplab.config.composer import Composer
from mlplab.config.plugins import unregister
from mlplab.errors import MlplabError
from mlplab.playback.page import repeat_command
from mlplab.sweeps.execution import joint_training
from mlplab.sweeps.execution.stores import FolderStore
from mlplab.sweeps.plan import grouping, memory, tracked
from mlplab.sweeps.plan.plan_file import plan_text, read_plan
from mlplab.sweeps.run_sweep import SweepRequest
from mlplab.tracking import read_metrics
from mlplab.training import session

QUICK = ["experiment=xor_mlp", "training.epochs=3"]
CUBE = """
from dataclasses import dataclass
from mlplab.config import register
from mlplab.network import Activation

@register("activation", "cube")
@dataclass(frozen=True)
class Cube(Activation):
    "The third power."
    def value(self, z_KBH):
        return z_KBH**3
"""
PLUGIN = '''
import os, sys
from dataclasses import dataclass
from mlplab.config import register
from mlplab.data.preparation.registry import DATASETS
from mlplab.network import Activation
from mlplab.schema import number

@register("dataset", "moody")
@dataclass(frozen=True)
class Moody(DATASETS["xor"]):
    """XOR that sometimes fails."""
    mood: float = number(0.0, "1 raises, 2 leaves the program, 3 raises the first time")
    def make(self, generator):
        if self.mood == 1:
            raise RuntimeError("no mood today")
        if self.mood == 2:
            sys.exit(5)
        if self.mood == 3 and not os.path.exists("tried"):
            open("tried", "w").close()
            raise OSError("disk is busy")
        return super().make(generator)

@register("activation", "touchy")
@dataclass(frozen=True)
class Touchy(Activation):
    """The identity, which raises at level 7."""
    level: float = number(0.0, "7 raises")
    def value(self, z):
        if (self.level == 7) if isinstance(self.level, float) else bool((self.level == 7).any()):
            raise ArithmeticError("seven")
        return z
'''


@pytest.fixture
def plugin():
    from mlplab.config import plugins

    Path("components.py").write_text(PLUGIN)
    yield "components.py"
    for group, name in (("dataset", "moody"), ("activation", "touchy")):
        plugins._registered[group].pop(name, None)


def files(folder):
    names = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    return {"events" if name.startswith("events.out.tfevents.") else name for name in names}


def stamps(folder):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(folder.rglob("*"))
    }


# Each job folder is that of a run.


@pytest.mark.campaign("fuzz", small=True)
def test_a_job_folder_equals_that_of_a_single_run(monkeypatch):
    """By default one of four jobs is compared, with one picture; in the campaign all of six."""
    if not FULL:
        draw_only(monkeypatch, "curves")
        use_few_dots(monkeypatch)
    overrides = [
        *QUICK,
        "dtype=float64",
        "dataset.noise=0.1",
        "model.normalization=batch",
        "model.dropout=0.1",
        "tracking=full",
    ]
    seeds = f"seed=range({size(2, 3)})"
    table = mlplab.sweep([*overrides, "optimizer.lr=0.01,0.1", seeds], "sweep")
    assert list(table.columns[:4]) == ["job", "status", "optimizer.lr", "seed"]
    for row in table.to_dict("records")[size(3, 0) :]:
        job = Path("sweep/jobs", str(row["job"]))
        single_run = mlplab.run(
            [*overrides, f"optimizer.lr={row['optimizer.lr']}", f"seed={row['seed']}"]
        )
        state = {
            name
            for name in files(single_run.folder)
            if name.startswith(("checkpoints/state-", "checkpoints/history"))
        }
        assert len(state) == 3  # only a single run keeps them, so that it can be trained further
        assert files(job) == files(single_run.folder) - state
        assert (job / "config.yaml").read_bytes() == (
            single_run.folder / "config.yaml"
        ).read_bytes()
        assert (job / "overrides.yaml").read_bytes() == (
            single_run.folder / "overrides.yaml"
        ).read_bytes()
        metrics, expected = (
            read_metrics(folder / "metrics.csv") for folder in (job, single_run.folder)
        )
        assert list(metrics) == list(expected)
        np.testing.assert_allclose(
            np.array(list(metrics.values())),
            np.array(list(expected.values())),
            rtol=1e-9,
            atol=1e-10,
        )
        run = mlplab.load(job)
        assert run.summary.keys() == single_run.summary.keys()
        assert run.metrics == pytest.approx(single_run.metrics, rel=1e-9, abs=1e-10)
        assert run.summary["population"] == size(4, 6)
        x = np.random.default_rng(0).normal(size=(20, 2))
        np.testing.assert_allclose(
            run.predict_proba(x), single_run.predict_proba(x), rtol=0, atol=1e-7
        )
        for name in ("test/accuracy", "val/loss", "train/f1"):
            assert row[name] == run.metrics[name]


def test_layers_without_dropout_have_different_parameter_names():
    swept = ["model.dropout=0,0.2", "seed=0,1", "engine=eager"]
    table = mlplab.sweep([*QUICK, "model.hidden=[4,3]", *swept], "sweep")
    for number in table["job"]:
        mlplab.load(Path("sweep/jobs", str(number))).predict([[0.5, 0.5]])
    assert read_plan(Path("sweep")).populations[0].jobs == 4


def test_the_event_file_carries_hyperparameters_and_final_metrics():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    mlplab.sweep([*QUICK, "optimizer.lr=0.01,0.1", "activation=tanh,relu"], "sweep")
    experiments = set()
    for number in range(4):
        events = EventAccumulator(f"sweep/jobs/{number}")
        events.Reload()
        contents = {
            tag: plugin_data_pb2.HParamsPluginData.FromString(content)
            for tag, content in events.PluginTagToContent("hparams").items()
        }
        start = contents["_hparams_/session_start_info"].session_start_info
        summary = json.loads(Path(f"sweep/jobs/{number}/summary.json").read_text())
        config = yaml.safe_load(Path(f"sweep/jobs/{number}/config.yaml").read_text())
        assert start.hparams["optimizer.lr"].number_value == config["optimizer"]["lr"]
        assert start.hparams["activation"].string_value == config["activation"]["name"]
        assert contents["_hparams_/session_end_info"].session_end_info.status == 1
        experiment = contents["_hparams_/experiment"].experiment
        columns = {info.name: info.differs for info in experiment.hparam_infos}
        assert {name for name, differs in columns.items() if differs} == {
            "optimizer.lr",
            "activation",
        }
        tags = [info.name.tag for info in experiment.metric_infos]
        assert set(tags) <= set(events.Tags()["scalars"])
        for tag in tags:
            name = tag.replace("_best", "")
            assert [point.value for point in events.Scalars(tag)] == [
                pytest.approx(summary["metrics"][name], rel=1e-6)
            ]
        experiment.ClearField("time_created_secs")
        experiments.add(experiment.SerializeToString(deterministic=True))
    assert len(experiments) == 1


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    ("overrides", "level"),
    [
        (["seed=range({})"], "scalars"),
        (["seed=range({})", "tracking=off"], "off"),
        (["seed=0,1"], "full"),
    ],
)
def test_large_sweeps_track_scalars_only(overrides, level, monkeypatch):
    """By default more than five jobs are many; in the campaign more than a hundred."""
    if not FULL:
        monkeypatch.setattr(tracked, "MAX_FULLY_TRACKED_JOBS", 5)
    overrides = [override.format(tracked.MAX_FULLY_TRACKED_JOBS + 1) for override in overrides]
    mlplab.sweep([*QUICK, "training.epochs=1", *overrides], "sweep")
    job = Path("sweep/jobs/1")
    assert yaml.safe_load((job / "config.yaml").read_text())["tracking"]["name"] == level
    assert (job / "metrics.csv").exists() == (level != "off")


def test_seeds_may_be_drawn():
    table = mlplab.sweep([*QUICK, "seed=null", "optimizer.lr=0.1,0.2"], "sweep")
    seeds = [
        json.loads(Path(f"sweep/jobs/{n}/summary.json").read_text())["seed"] for n in table["job"]
    ]
    assert len(set(seeds)) == 2


# Hydra.


def test_the_command_prints_a_table_and_the_folder(capsys):
    assert (
        main(["train", "-m", *QUICK, "optimizer.lr=0.01,0.1", "seeds=3", "hydra.sweep.dir=sweep"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "sweep"
    assert lines[-2] == "6 jobs, 6 done"
    assert lines[0].split()[:2] == ["optimizer.lr", "val/accuracy"]
    assert re.fullmatch(r"[\d.]+ s of wall time, [\d.]+ s of processor time", lines[-3])
    assert lines[-4].startswith(
        "best: mlplab train experiment=xor_mlp training.epochs=3 optimizer.lr=0."
    )
    assert {path.name for path in Path("sweep").iterdir() if path.name[0] != "."} == {
        "plan.yaml",
        "jobs",
        "summary.json",
        "results.csv",
        "summary.md",
        "report.html",
    }
    table = pd.read_csv("sweep/results.csv")
    best = table.groupby("optimizer.lr")["val/accuracy"].mean().idxmax()
    assert f"optimizer.lr={best:g} " in lines[-4]


BASIC = ["hydra/sweeper=basic", "hydra/launcher=basic"]
LEVEL = [] if FULL else ["tracking=summary"]  # a single job would draw pictures
FOUR = [*QUICK, *LEVEL, "dtype=float64", "optimizer.lr=0.01,0.1", "seed=0,1"]


def results(folder):
    return pd.read_csv(f"{folder}/results.csv").drop(columns=["seconds", "cpu_seconds"])


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Results of these jobs with mlplab's sweeper and launcher."""
    folder = tmp_path_factory.mktemp("four") / "ours"
    assert main(["train", "-m", *FOUR, f"hydra.sweep.dir={folder}"]) == 0
    return results(folder)


@pytest.mark.campaign("fuzz", small=True)
@pytest.mark.parametrize(
    "overrides",
    [
        in_campaign("fuzz", BASIC[1:]),
        in_campaign("fuzz", BASIC[:1]),
        in_campaign("fuzz", [BASIC[0], "hydra.sweeper.max_batch_size=3"]),
        BASIC,
    ],
)
def test_basic_launcher_and_sweeper_give_the_same_results(overrides, four):
    assert main(["train", "-m", *FOUR, "hydra.sweep.dir=theirs", *overrides]) == 0
    pd.testing.assert_frame_equal(four, results("theirs"), rtol=1e-9)


class RecordingSweeper(Sweeper):
    """A sweeper of another package, which records what its launcher returns."""

    __module__ = "hydra_plugins.recording"  # where Hydra expects plugins
    values: ClassVar[list[float]] = []

    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        given = [line for line in arguments if not line.startswith("activation.level=")]
        jobs = [(*given, f"activation.level={level}") for level in (1, 7)]
        returned = self.launcher.launch(jobs, initial_job_idx=0)
        self.values[:] = [job.return_value for job in returned]


@pytest.fixture
def recording(monkeypatch):
    package = SimpleNamespace(RecordingSweeper=RecordingSweeper)
    monkeypatch.setitem(sys.modules, RecordingSweeper.__module__, package)
    Plugins.instance().register(RecordingSweeper)
    node = {"_target_": "hydra_plugins.recording.RecordingSweeper"}
    ConfigStore.instance().store(group="hydra/sweeper", name="recording", node=node)
    yield RecordingSweeper.values
    del ConfigStore.instance().repo["hydra"]["sweeper"]["recording.yaml"]


@pytest.mark.parametrize(
    ("launcher", "metric"),
    [
        ("basic", "auto"),
        ("mlplab", "test/loss"),
        in_campaign("fuzz", "basic", "test/loss"),
        in_campaign("fuzz", "mlplab", "auto"),
    ],
)
def test_a_sweeper_of_another_package_gets_the_metric_of_each_job(
    launcher, metric, plugin, recording
):
    overrides = [*QUICK, "tracking=off", "activation=touchy", "activation.level=1,7"]
    hydra = ["hydra/sweeper=recording", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep"]
    more = [*hydra, f"sweep.metric={metric}"]
    assert main(["train", "-m", "--plugin", plugin, *overrides, *more]) == 1
    table = pd.read_csv("sweep/results.csv")
    assert list(table["status"]) == ["done", "failed"]
    expected = table["val/accuracy" if metric == "auto" else metric]
    assert recording[0] == pytest.approx(expected[0], rel=1e-6)
    assert np.isnan(recording[1])


@pytest.mark.slow
def test_plan_prints_and_runs_nothing(capsys):
    overrides = [
        *QUICK,
        "optimizer.lr=0.01,0.1",
        "activation=tanh,relu",
        "optimizer=adam",
        "seeds=4",
    ]
    assert main(["plan", *overrides]) == 0
    text = capsys.readouterr().out
    assert "16 jobs in 1 population" in text
    assert "2 structures" in text
    assert main(["plan", *overrides, "engine=eager"]) == 0
    text = capsys.readouterr().out
    assert "16 jobs in 2 populations" in text
    assert "activation=tanh" in text
    assert "activation=relu" in text
    assert list(Path().iterdir()) == []
    assert main(["plan", *overrides, "optimizer.lr=-1"]) == 2


@pytest.mark.slow
def test_a_job_has_its_share_of_the_seconds():
    """The shares differ, since the kernel measures each job."""
    table = mlplab.sweep([*QUICK, "seeds=3"], "sweep")
    summaries = [
        json.loads(Path(f"sweep/jobs/{number}/summary.json").read_text()) for number in range(3)
    ]
    assert table["seconds"].tolist() == [summary["seconds"] for summary in summaries]
    assert {summary["population"] for summary in summaries} == {3}


@pytest.mark.parametrize("typed", [True, False])
def test_the_mode_of_hydra_is_that_of_m(typed, capsys):
    Path("conf/experiment").mkdir(parents=True)
    mode = "" if typed else "hydra: {mode: MULTIRUN}\n"
    text = "# @package _global_\ndefaults:\n  - override /dataset: xor\ntraining: {epochs: 1}\n"
    Path("conf/experiment/two.yaml").write_text(text + mode)
    overrides = ["experiment=two", "seed=0,1", "tracking=summary", "hydra.sweep.dir=s"]
    assert main(["train", *overrides, *(["hydra.mode=MULTIRUN"] if typed else [])]) == 0
    assert "2 jobs, 2 done" in capsys.readouterr().out
    assert main(["train", *overrides, "hydra.mode=RUN"]) == 2


@pytest.fixture
def forget_cube():
    """Write the plugin cube.py; returns a function that forgets it, as a new process would."""
    Path("cube.py").write_text(CUBE)
    module = "mlplab_plugin_" + re.sub(r"\W", "_", str(Path("cube.py").absolute()))

    def forget():
        unregister("activation", "cube")
        sys.modules.pop(module, None)

    yield forget
    forget()


@pytest.mark.parametrize("search", [(), ("sweep.trials=2",)])
def test_the_command_of_the_best_runs(search, forget_cube, capsys):
    """It names the plugin files and the folders of configurations that the sweep needed."""
    Path("elsewhere/experiment").mkdir(parents=True)
    Path("elsewhere/experiment/other.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /dataset: xor\ntraining: {epochs: 2}\n"
    )
    flags = ["--plugin", "cube.py", "--config-dir", "elsewhere"]
    overrides = ["experiment=other", "activation=cube,relu", "tracking=summary", *search]
    assert main(["train", "-m", *flags, *overrides, "hydra.sweep.dir=s"]) == 0
    output = capsys.readouterr().out.splitlines()
    (best,) = (line for line in output if line.startswith(("best: mlplab", "again: mlplab")))
    assert all(path in best for path in flags)
    forget_cube()
    assert main([*shlex.split(best.partition(": mlplab ")[2]), "hydra.run.dir=again"]) == 0


@pytest.mark.slow
def test_the_command_of_a_job_trains_it_again(forget_cube, capsys):
    """Whichever process trained it: the driver, `mlplab resume`, or `mlplab rerun` of the job."""
    Path("elsewhere/experiment").mkdir(parents=True)
    Path("elsewhere/experiment/other.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /dataset: xor\ntraining: {epochs: 2}\n"
    )
    flags = ["--plugin", "cube.py", "--config-dir", "elsewhere"]
    overrides = ["experiment=other", "activation=cube", "tracking=summary", "seed=0,1,2"]
    assert main(["train", "-m", *flags, *overrides, "hydra.sweep.dir=s"]) == 0
    undisturbed = json.loads(Path("s/jobs/2/provenance.json").read_text())["command"]
    shutil.rmtree("s/jobs/2")
    assert main(["resume", "--plugin", "cube.py", "s"]) == 0
    assert main(["rerun", "--plugin", "cube.py", "s/jobs/2", "--out", "rerun"]) == 0
    weights = Path("s/jobs/2/weights.safetensors").read_bytes()
    for folder in ("s/jobs/2", "rerun"):
        command = json.loads(Path(folder, "provenance.json").read_text())["command"]
        assert command == undisturbed
        assert shlex.split(repeat_command(mlplab.load(folder))) == command
    forget_cube()
    assert main([*undisturbed[1:], "hydra.run.dir=again"]) == 0
    assert Path("again/weights.safetensors").read_bytes() == weights


def test_the_plan_shows_values_as_they_are(capsys):
    assert main(["plan", *QUICK, 'name="a  b","c d"', "model.bias=true,false"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:5]
    values = [(name, bias) for name in ("a  b", "c d") for bias in ("true", "false")]
    for row, (name, bias) in zip(rows, values, strict=True):
        assert re.fullmatch(rf" *\d +{name} +{bias} +\d", row)


def test_an_experiment_that_is_a_sweep_needs_no_flag(capsys):
    assert (
        main(
            [
                "train",
                "experiment=batch_styles",
                "training.epochs=1",
                "tracking=summary",
                "seeds=2",
                "dataset.num_samples=100",
                "hydra.sweep.dir=sweep",
            ]
        )
        == 0
    )
    assert len(pd.read_csv("sweep/results.csv")) == 6
    assert (
        main(
            [
                "train",
                "experiment=batch_styles",
                "training=batch",
                "seed=0",
                "training.epochs=1",
                "tracking=summary",
                "hydra.run.dir=one",
            ]
        )
        == 0
    )
    assert Path("one/summary.json").is_file()


# Failures.


@pytest.mark.slow
def test_97_of_100_with_three_reasons(plugin, capsys):
    moods = ["0"] * 50 + ["1"] + ["2"] + ["0"] * 48
    Path("conf/experiment").mkdir(parents=True)
    zipped = {
        "dataset.mood": [float(m) for m in moods],
        "seed": list(range(100)),
        "optimizer.lr": [0.01] * 70 + [1e30] + [0.01] * 29,
    }
    text = {
        "defaults": [
            {"override /dataset": "moody"},
            {"override /activation": "relu"},
            {"override /optimizer": "sgd"},
            {"override /loss": "mse_onehot"},
        ]
    }
    text |= {"training": {"epochs": 3}, "sweep": {"zip": zipped}}
    Path("conf/experiment/mine.yaml").write_text("# @package _global_\n" + yaml.safe_dump(text))
    assert main(["train", "--plugin", plugin, "experiment=mine", "hydra.sweep.dir=sweep"]) == 1
    table = pd.read_csv("sweep/results.csv")
    assert table["status"].value_counts().to_dict() == {"done": 97, "failed": 2, "diverged": 1}
    out = capsys.readouterr()
    for number, reason in ((50, "no mood today"), (51, "SystemExit: 5"), (70, "not finite")):
        assert reason in (Path("sweep/jobs") / str(number) / "error.txt").read_text()
        assert reason in table["reason"][number]
        assert f"job {number}" in out.err
        assert reason in out.err
    assert out.out.splitlines()[-2] == "100 jobs, 97 done, 2 failed, 1 diverged"
    healthy = table[table["status"] == "done"]
    assert healthy[["val/accuracy", "test/loss"]].notna().all(axis=None)


def test_a_population_that_raises_is_halved_until_the_culprit_is_alone(plugin):
    assert (
        main(
            [
                "train",
                "-m",
                "--plugin",
                plugin,
                *QUICK,
                "activation=touchy",
                "activation.level=range(0,12)",
                "hydra.sweep.dir=sweep",
            ]
        )
        == 1
    )
    table = pd.read_csv("sweep/results.csv")
    assert list(table[table["status"] == "failed"]["activation.level"]) == [7]
    assert len(table[table["status"] == "done"]) == 11
    assert "seven" in Path("sweep/jobs/7/error.txt").read_text()


@pytest.mark.slow
def test_out_of_memory_halves(monkeypatch):
    real, sizes = session.build_population, []

    def small(members):
        sizes.append(len(members))
        if len(members) > 3:
            raise MemoryError
        return real(members)

    monkeypatch.setattr(session, "build_population", small)
    table = mlplab.sweep([*QUICK, "seed=range(10)"], "sweep")
    assert list(table["status"]) == ["done"] * 10
    assert sizes[:3] == [10, 5, 2]


def test_a_memory_estimate_splits_populations(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 1)
    table = mlplab.sweep([*QUICK, "seed=range(3)"], "sweep")
    assert [len(unit.jobs) for unit in read_plan(Path("sweep")).work_units] == [1, 1, 1]
    assert list(table["status"]) == ["done"] * 3


def test_memory_adds_up_over_the_jobs_of_a_chunk():
    num_bytes = {0: 3, 1: 5, 2: 1, 3: 9, 4: 1}
    assert grouping.split_by_memory(range(5), num_bytes, 8) == [(0, 1), (2,), (3,), (4,)]
    assert grouping.split_by_memory(range(5), num_bytes, 100) == [(0, 1, 2, 3, 4)]


def test_jobs_of_mixed_structure_get_their_folders_while_others_train(monkeypatch):
    monkeypatch.setattr(FolderStore, "max_wait", 0.0)
    real, batches = joint_training.JointTraining._pass_on, []

    def pass_on(training):
        batches.append([number for group in training._ended for number in group.numbers])
        real(training)

    monkeypatch.setattr(joint_training.JointTraining, "_pass_on", pass_on)
    overrides = ["model.hidden=3,4-4", "activation=tanh,relu", "training.batch_size=16,32"]
    table = mlplab.sweep([*QUICK, *overrides, "engine=native", "tracking=off"], "sweep")
    assert list(table["status"]) == ["done"] * 8
    assert len(read_plan(Path("sweep")).work_units) == 1
    assert len([batch for batch in batches if batch]) > 1
    assert sorted(number for batch in batches for number in batch) == list(range(8))
    assert all(json.loads(path.read_text())["population"] == 8 for path in summaries("sweep"))


def summaries(folder):
    return list(Path(folder).glob("jobs/*/summary.json"))


@pytest.mark.slow
def test_retries_and_fail_fast(plugin):
    overrides = ["train", "-m", "--plugin", plugin, *QUICK, "dataset=moody"]
    assert main([*overrides, "dataset.mood=0,3", "hydra.sweep.dir=once"]) == 1
    Path("tried").unlink()
    assert main([*overrides, "dataset.mood=0,3", "hydra.sweep.dir=twice", "sweep.retries=1"]) == 0
    Path("tried").unlink()
    assert (
        main(
            [
                *overrides,
                "dataset.mood=1,0",
                "model.hidden=[3],[4]",
                "sweep.fail_fast=true",
                "hydra.sweep.dir=fast",
            ]
        )
        == 1
    )
    statuses = list(pd.read_csv("fast/results.csv")["status"])
    assert statuses.count("failed") == 1
    assert statuses.count("missing") == 1
    assert listed("fast") == "interrupted sweep, 3 of 4 jobs, 1 failed"
    assert main(["resume", "once"]) == 2  # its plugin must be named again
    assert main(["resume", "once", "--plugin", plugin]) == 1
    Path("tried").touch()
    assert main(["resume", "once", "--plugin", plugin]) == 0


@pytest.mark.slow
def test_lbfgs_jobs_run_alone_after_the_others():
    short = [QUICK[0], "training.epochs=1", "tracking=scalars"]
    table = mlplab.sweep([*short, "optimizer=torch,adam", "seed=0,1"], "sweep")
    assert list(table["status"]) == ["done"] * 4
    plan = read_plan(Path("sweep"))
    assert [len(unit.jobs) for unit in plan.work_units] == [2, 1, 1]
    assert "one network at a time" in plan.populations[1].alone
    assert "one network at a time" in plan_text(plan)
    assert "one network at a time" in Path("sweep/jobs/0/log.txt").read_text()


# Recovery.


def listed(folder):
    """The status and the result of a sweep in the list of `mlplab runs`."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(["runs", folder]) == 0
    header, row, _ = output.getvalue().splitlines()
    return f"{row.split()[1]} {row[header.index('result') :]}"


def test_the_status_of_a_sweep_is_recorded(monkeypatch, capsys):
    """It never follows from the files that exist: an ending of any kind writes all of them."""
    overrides = [*QUICK, "model.hidden=3,4", "seed=0"]

    def interrupted(training):
        assert listed("sweep") == "unfinished sweep, 0 of 2 jobs"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "run", interrupted)
        assert main(["train", "-m", *overrides, "hydra.sweep.dir=sweep"]) == 130
    assert Path("sweep/results.csv").is_file()
    assert listed("sweep") == "interrupted sweep, 0 of 2 jobs"
    assert main(["report", "sweep"]) == 0
    assert listed("sweep") == "interrupted sweep, 0 of 2 jobs"
    overrides = ["dataset=quadratic", "optimizer=sgd", "optimizer.lr=0.01,1e9", "tracking=summary"]
    assert main(["train", "-m", *overrides, "training.epochs=20", "hydra.sweep.dir=lr"]) == 1
    assert listed("lr") == "failed sweep, 2 jobs, 1 diverged"
    Path("lr/summary.json").unlink()
    assert listed("lr") == "unfinished sweep, 2 jobs"


@pytest.mark.parametrize("metric", ["val/nope", "val/acuracy", "accuracy", "val/rmse"])
def test_the_metric_is_checked_before_the_first_job(metric, capsys):
    overrides = [*QUICK, "model.hidden=3,4", "hydra.sweep.dir=sweep"]
    for more in (f"sweep.metric={metric}", f"sweep.objectives={metric} sweep.trials=2"):
        assert main(["train", "-m", *overrides, *more.split()]) == 2
        assert f"no job measures `{metric}`" in capsys.readouterr().err
    assert not Path("sweep").exists()


@pytest.mark.slow
def test_ctrl_c_leaves_a_sweep_that_can_be_resumed(monkeypatch, capsys):
    overrides = [*QUICK, "activation=tanh,relu,elu", "seed=0,1", "engine=eager"]
    real, calls = session.Session.run, []

    def interrupted(training):
        calls.append(training)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(training)

    monkeypatch.setattr(session.Session, "run", interrupted)
    assert main(["train", "-m", *overrides, "hydra.sweep.dir=sweep"]) == 130
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "finish it with: mlplab resume sweep",
        "sweep",
    ]
    assert list(pd.read_csv("sweep/results.csv")["status"]) == [
        "done",
        "done",
        "missing",
        "missing",
        "missing",
        "missing",
    ]
    assert listed("sweep") == "interrupted sweep, 2 of 6 jobs"
    before = stamps(Path("sweep/jobs/0")) | stamps(Path("sweep/jobs/1"))
    assert main(["resume", "sweep"]) == 0
    assert listed("sweep") == "done sweep, 6 jobs"
    assert stamps(Path("sweep/jobs/0")) | stamps(Path("sweep/jobs/1")) == before
    assert list(pd.read_csv("sweep/results.csv")["status"]) == ["done"] * 6
    everything = stamps(Path("sweep/jobs"))
    assert main(["train", "-m", *overrides, "hydra.sweep.dir=sweep"]) == 0
    assert stamps(Path("sweep/jobs")) == everything


@pytest.mark.slow
def test_a_changed_sweep_adds_its_new_jobs(capsys):
    assert main(["train", "-m", *QUICK, "seed=0,1,2", "hydra.sweep.dir=sweep"]) == 0
    before = stamps(Path("sweep/jobs/1")) | stamps(Path("sweep/jobs/2"))
    capsys.readouterr()
    assert main(["train", "-m", *QUICK, "seed=5,1,2", "hydra.sweep.dir=sweep"]) == 0
    errors = capsys.readouterr().err
    assert "1 new jobs join" in errors
    assert "not in this one" in errors
    table = pd.read_csv("sweep/results.csv")
    assert dict(zip(table["seed"], table["job"], strict=True)) == {1: 1, 2: 2, 5: 3}
    assert stamps(Path("sweep/jobs/1")) | stamps(Path("sweep/jobs/2")) == before
    assert Path("sweep/jobs/0").is_dir()
    assert main(["train", "-m", *QUICK, "seed=0,5", "hydra.sweep.dir=sweep"]) == 0
    assert sorted(pd.read_csv("sweep/results.csv")["job"]) == [0, 3]


def test_a_folder_that_is_no_sweep_is_rejected():
    Path("sweep").mkdir()
    Path("sweep/thesis.tex").touch()
    assert main(["train", "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=sweep"]) == 2
    assert main(["resume", "sweep"]) == 2
    assert main(["resume", "nowhere"]) == 2
    assert os.listdir("sweep") == ["thesis.tex"]


def write_sweep_plan(overrides):
    return SweepRequest(Composer(overrides)).write_plan(Path("sweep"))


def test_a_plan_is_frozen():
    overrides = [
        *QUICK,
        "optimizer.lr=0.1,1e-3,1",
        "model.hidden=[3],[4,{units:3,dropout:0.1}]",
        "seed=0,1",
        "training.patience=null",
    ]
    plan = write_sweep_plan(overrides)
    read = read_plan(Path("sweep"))
    assert [(job.number, job.hash, job.overrides, job.settings) for job in read.jobs] == [
        (job.number, job.hash, job.overrides, job.settings) for job in plan.jobs
    ]
    assert (read.work_units, read.populations, read.options, read.keys) == (
        plan.work_units,
        plan.populations,
        plan.options,
        plan.keys,
    )
    text = Path("sweep/plan.yaml").read_text()
    assert text.count('"seed": 1') >= 1
    for damaged in (
        text.replace('"seed": 1', '"seed": 2'),
        text.replace("lr: ", "lr: 1", 1),
        text[: len(text) // 2],
        text.replace("mlplab-plan-2", "x"),
    ):
        assert damaged != text
        Path("sweep/plan.yaml").write_text(damaged)
        with pytest.raises(MlplabError, match=r"plan\.yaml"):
            read_plan(Path("sweep"))


MEETING = """
import os, time
from pathlib import Path
from mlplab.sweeps.execution import runner
from mlplab.training import session

build_population = session.build_population


def meet(members):
    Path(f"trains-{os.getpid()}").touch()
    deadline = time.monotonic() + 60
    while len(list(Path().glob("trains-*"))) < 2:
        assert time.monotonic() < deadline, "no other driver trains"
        time.sleep(0.005)
    return build_population(members)


session.build_population, runner.WAIT = meet, 0.05
"""
"""A driver that trains jobs waits until another one trains some too, however fast it is."""


@pytest.mark.slow
def test_three_drivers_do_each_job_once():
    Path("meeting.py").write_text(MEETING)
    overrides = [
        *("--plugin", "meeting.py"),
        "experiment=xor_mlp",
        "training.epochs=3",
        "engine=eager",  # one work unit for each activation
        "activation=tanh,relu,elu,silu",
        "seed=range(2)",
        "hydra.sweep.dir=sweep",
    ]
    drivers = [start("train", "-m", *overrides) for _ in range(3)]
    errors = [driver.communicate(timeout=120)[1] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0, 0], errors
    table = pd.read_csv("sweep/results.csv")
    assert list(table["status"]) == ["done"] * 8
    assert all(len(list(Path(f"sweep/jobs/{n}").glob("events*"))) == 1 for n in range(8))
    processes = {
        Path(next(iter(Path(f"sweep/jobs/{n}").glob("events*")))).name.split(".")[-2]
        for n in range(8)
    }
    assert len(processes) >= 2  # they shared the work


@pytest.mark.slow
def test_jobs_killed_in_the_middle_are_not_half_there():
    """The process is killed while it writes folders: existing folders are complete, and resume
    trains the missing jobs.
    """
    overrides = [
        "experiment=xor_mlp",
        "training.epochs=2",
        "seed=range(110)",
        "hydra.sweep.dir=sweep",
    ]
    driver = start("train", "-m", *overrides)
    kill_while_it_writes(driver, 20)
    folders = list(Path("sweep/jobs").iterdir())
    assert 20 <= len(folders) < 110
    complete = files(folders[0])
    assert all(files(path) == complete for path in folders)
    before = {path: stamps(path) for path in folders}
    assert main(["resume", "sweep"]) == 0
    assert {path: stamps(path) for path in folders} == before
    table = pd.read_csv("sweep/results.csv")
    assert list(table["job"]) == list(range(110))
    assert set(table["status"]) == {"done"}
    assert [path.name for path in Path("sweep").iterdir() if path.name.startswith(".aside")] == []


def kill_while_it_writes(driver, number):
    """Kill the driver once it has written `number` more folders."""
    before = len(list(Path("sweep/jobs").glob("*")))
    wait_for(
        lambda: (
            len(list(Path("sweep/jobs").glob("*"))) >= before + number or driver.poll() is not None
        )
    )
    assert driver.poll() is None, driver.communicate()
    driver.kill()
    driver.communicate()


@pytest.mark.campaign("kills")
def test_500_jobs_killed_20_times():
    """Killed 16 times during training and 4 times while it writes folders, and resumed each time:
    500 results, no job trained twice, and the same table as that of an undisturbed sweep.
    """
    overrides = [
        "experiment=xor_mlp",
        "training.epochs=8",
        "activation=tanh,relu,elu,sigmoid,gelu",
        "optimizer.lr=0.01,0.03",
        "seed=range(50)",
        "tracking.checkpoint_seconds=0.001",
        "tracking.jobs=folders",
    ]
    assert main(["train", "-m", *overrides, "hydra.sweep.dir=undisturbed"]) == 0
    random, seen, plugins, while_writing = np.random.default_rng(3), {}, [], 0
    for number in range(20):
        name = f"paused_{number}"
        # every other kill, while folders are written, costs a population
        if while_training := number % 4 != 3 or number == 19:
            plugins += pause(step=int(random.integers(1, 140)), name=name)
        begin = (
            ["resume", "sweep"] if number else ["train", "-m", *overrides, "hydra.sweep.dir=sweep"]
        )
        if while_training:
            driver = start(*begin, *plugins)
            wait_until_paused(driver, name)
            driver.kill()
            driver.communicate()
        else:  # a folder takes about 20 operations
            run(*begin, *plugins, code=-9, kill_at=int(random.integers(1200, 3500)), timeout=200)
            while_writing += len(list(Path("sweep/jobs").glob("*"))) > len(seen)
        for path in Path("sweep/jobs").glob("*") if Path("sweep/jobs").exists() else ():
            if path.name in seen:
                assert stamps(path) == seen[path.name]
            else:
                seen[path.name] = stamps(path)
    assert while_writing >= 1
    run("resume", "sweep", *plugins, timeout=200)
    for name, before in seen.items():
        assert stamps(Path("sweep/jobs", name)) == before
    ours, theirs = results("undisturbed"), results("sweep")
    assert list(theirs["job"]) == list(range(500))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    shutil.rmtree("sweep")
