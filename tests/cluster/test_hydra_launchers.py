"""Other Hydra launchers with mlplab: complete folders, the exit code, and a failing job that does
not affect the others.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from mlplab.cli import main
from mlplab.config import launchers, security
from mlplab.errors import ConfigError

MLPLAB = [sys.executable, "-W", "ignore", "-m", "mlplab"]
PLUGIN = '''
import ctypes, os
from dataclasses import dataclass
from mlplab.config import register
from mlplab.network import Activation
from mlplab.schema import number

@register("activation", "touchy")
@dataclass(frozen=True)
class Touchy(Activation):
    """The identity, which raises at level 7 and crashes the process at level 8."""
    level: float = number(0.0, "7 raises, 8 kills")
    def value(self, z):
        if self.level == 7:
            raise ArithmeticError("seven")
        if self.level == 8 and not os.path.exists("repaired"):
            ctypes.string_at(0)
        return z
'''
JOBS = [
    "experiment=xor_mlp",
    "training.epochs=3",
    "dataset.num_samples=60",
    "tracking=summary",
    "device=cpu",
    "activation=touchy",
]
WHOLE = {
    "config.yaml",
    "overrides.yaml",
    "summary.json",
    "metrics.csv",
    "provenance.json",
    "weights.safetensors",
    "log.txt",
}


def needs(launcher):
    """A mark that skips the test without the launcher, before a cluster is started for it."""
    package = launchers.PACKAGES["hydra/launcher"][launcher]
    absent = find_spec("hydra_plugins." + package.replace("-", "_")) is None
    return pytest.mark.skipif(
        absent, reason=f"the launcher is not installed: pip install {package}"
    )


def train(*overrides, env=None, levels="1,7,2"):
    """Train three jobs, one of which raises; return the completed process."""
    Path("components.py").write_text(PLUGIN)
    arguments = [
        "--plugin",
        "components.py",
        *JOBS,
        f"activation.level={levels}",
        "hydra.sweep.dir=sweep",
    ]
    return subprocess.run(
        [*MLPLAB, "train", "-m", *arguments, *overrides],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=env,
    )


def assert_two_of_three(done):
    assert done.returncode == 1, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "sweep", done.stdout
    assert "3 jobs, 2 done, 1 failed" in done.stdout
    table = pd.read_csv("sweep/results.csv")
    assert list(table["status"]) == ["done", "failed", "done"]
    assert "seven" in table["reason"][1]
    assert table["val/accuracy"].notna().tolist() == [True, False, True]
    for job in (0, 2):
        assert {path.name for path in Path(f"sweep/jobs/{job}").iterdir()} >= WHOLE
    assert "seven" in Path("sweep/jobs/1/error.txt").read_text()
    assert Path("sweep/report.html").is_file()


@needs("joblib")
@pytest.mark.campaign("cluster")
def test_joblib():
    assert_two_of_three(
        train("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.launcher.verbose=0")
    )


@needs("joblib")
@pytest.mark.campaign("cluster")
def test_joblib_loses_a_process():
    """Finished jobs are kept; the others are reported as missing and can be resumed."""
    done = train("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", levels="1,8,2")
    assert done.returncode == 1, done.stderr
    assert "the launcher failed: TerminatedWorkerError" in done.stderr
    assert "finish it with: mlplab resume --plugin components.py sweep" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "sweep"
    assert "missing" in set(pd.read_csv("sweep/results.csv")["status"])
    Path("repaired").touch()
    subprocess.run(
        [*MLPLAB, "resume", "sweep", "--plugin", "components.py"], check=True, capture_output=True
    )
    assert list(pd.read_csv("sweep/results.csv")["status"]) == ["done"] * 3


@needs("submitit_local")
@pytest.mark.campaign("cluster")
def test_submitit_local():
    assert_two_of_three(
        train(
            "hydra/launcher=submitit_local",
            "hydra.launcher.timeout_min=5",
            "hydra.launcher.cpus_per_task=1",
        )
    )


@needs("submitit_slurm")
@pytest.mark.campaign("cluster")
@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_submitit_slurm(slurm):
    overrides = [
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.partition=main",
        "hydra.launcher.timeout_min=5",
    ]
    assert_two_of_three(
        train(
            *overrides,
            "+hydra.launcher.additional_parameters.comment=lab",
            'hydra.launcher.setup=["touch typed"]',
            env=slurm,
        )
    )
    assert Path("typed").exists()  # commands that the user sets for the cluster are run


@needs("ray")
@pytest.mark.campaign("cluster")
@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_ray_started_by_the_launcher(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    overrides = [
        "+hydra.launcher.ray.init.include_dashboard=false",
        "+hydra.launcher.ray.init.num_cpus=2",
    ]
    assert_two_of_three(train("hydra/launcher=ray", *overrides))


@needs("ray")
@pytest.mark.campaign("cluster")
@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_ray_with_two_nodes(ray):
    """Its workers run in another folder than the command; jobs must still be in the right one."""
    address, env, _ = ray
    overrides = [
        "+hydra.launcher.ray.remote.num_cpus=1",
        "+hydra.launcher.ray.remote.scheduling_strategy=SPREAD",
    ]
    assert_two_of_three(
        train(
            "hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}", *overrides, env=env
        )
    )


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_launcher_that_is_not_installed(launcher, monkeypatch, capfd, tmp_path):
    """An installed launcher is hidden from Hydra."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # registers the installed launchers
    package = launchers.PACKAGES["hydra/launcher"][launcher]
    monkeypatch.delitem(
        ConfigStore.instance().repo.get("hydra", {}).get("launcher", {}),
        f"{launcher}.yaml",
        raising=False,
    )
    assert main(["train", "-m", f"hydra/launcher={launcher}", "dataset=xor", "seed=1,2"]) == 2
    errors = capfd.readouterr().err
    assert len(errors.strip().splitlines()) == 1
    assert f"pip install {package}" in errors
    assert "sweep.workers=" in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["hydra/launcher=job"], ("Did you mean `hydra/launcher=joblib`?",)),
        (
            ["hydra/launcher=basic", "tracking.jobs=packed"],
            ("tracking.jobs=folders", "sweep.workers=N", "sweep.engine=slurm"),
        ),
        (["hydra/sweeper=optuna"], ("sweep.trials=64",)),
        (
            ["hydra.launcher.n_jobs=2"],
            ("has no key `n_jobs`", "hydra/launcher=mlplab", "hydra/launcher=NAME"),
        ),
        (["hydra.launcher._target_=os.system"], ("nothing in a configuration may run code",)),
        (["+hydra.launcher.x={_target_: os.system}"], ("nothing in a configuration may run code",)),
        (
            ["hydra/launcher=basic", "++hydra.launcher.x.y=1", "hydra.callbacks.a.b=1"],
            ("hydra.callbacks",),
        ),
    ],
)
def test_invalid_launchers_are_rejected(overrides, messages, capfd, tmp_path):
    assert main(["train", "-m", *overrides, "dataset=xor", "seed=1,2"]) == 2
    errors = capfd.readouterr().err
    assert len(errors.strip().splitlines()) == 1
    for text in messages:
        assert text in errors
    assert not list(tmp_path.iterdir())


def test_values_of_a_sweep_below_the_keys_of_hydra_are_refused(capfd):
    Path("conf/experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: 1,2\n"
    Path("conf/experiment/swept.yaml").write_text(text)
    assert main(["train", "-m", "experiment=swept", "dataset=xor"]) == 2
    errors = capfd.readouterr().err
    assert "`hydra.sweeper.params`" in errors
    assert "sweep: {grid: {KEY: [A, B]}}" in errors


@pytest.mark.parametrize(
    "text",
    [
        "_target_: os.system",
        "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\nsetup: [touch evil]",
        (
            "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\nray:"
            " {runtime_env: {pip: [evil]}}"
        ),
    ],
)
def test_a_launcher_of_a_file_runs_nothing(text, capfd, tmp_path):
    folder = Path("conf/hydra/launcher")
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    assert (
        main(
            [
                "train",
                "-m",
                "--config-dir",
                "conf",
                "hydra/launcher=mine",
                "dataset=xor",
                "seed=1,2",
            ]
        )
        == 2
    )
    assert "nothing in a configuration" in capfd.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_keys_that_a_file_may_set_and_keys_that_need_the_command_line():
    def check(node, *typed):
        security.refuse_unsafe_launcher_values(
            {"launcher": {"_target_": "hydra_plugins.mlplab_launcher.MlplabLauncher", **node}},
            typed,
        )

    check({})
    check({"partition": "main", "timeout_min": 5, "empty": [], "nothing": None})
    check(
        {"setup": ["module load cuda"], "ray": {"init": {"address": "a:1"}}},
        "hydra.launcher.setup",
        "hydra.launcher.ray.init.address",
    )
    for node in (
        {"setup": ["x"]},
        {"comment": "a\nb"},
        {"ray": {"init": {"address": "a:1", "runtime_env": {"pip": ["x"]}}}},
    ):
        with pytest.raises(ConfigError, match="Set it on the command line"):
            check(node, "hydra.launcher.ray.init.address", "hydra.launcher.setups")
