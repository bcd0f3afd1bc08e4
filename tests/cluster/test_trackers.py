"""Runs and sweeps in a real MLflow server with its SQLite store, and in the files of Weights &
Biases offline: the numbers of their folders, exactly. `scripts/trackers` makes the environment.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from harness import QUICK, digest, record_measurement, wait_for

from mlplab.cli import main
from mlplab.tracking import read_metrics

pytestmark = [pytest.mark.campaign("cluster"), pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("MLPLAB_TRACKERS_PYTHON", ROOT / ".venv-trackers/bin/python"))
READER = Path(__file__).with_name("tracker_readers.py")
STARTED, WAITED = 120, 600
SWEEP = ["-m", *QUICK, "seed=range(50)", "optimizer.lr=0.01,0.03"]


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    if not PYTHON.exists():
        pytest.skip("scripts/trackers makes the environment with MLflow and Weights & Biases")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "WANDB_")):
            monkeypatch.delenv(name)


def mlplab(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [str(PYTHON), "-P", "-m", "mlplab", *arguments]
    options = {"env": {**os.environ, **environment}, "capture_output": True, "text": True}
    return subprocess.run(command, timeout=WAITED, check=False, **options)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """An MLflow server on this machine with its store in this folder."""

    def __init__(self) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        store = ["--backend-store-uri", "sqlite:///server.db"]
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command = [str(PYTHON), "-m", "mlflow", "server", *store, *where]
        command += ["--artifacts-destination", str(Path("server-artifacts").absolute())]
        with open("server.log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            )
        wait_for(self.answers, STARTED)

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path):
    started = Server()
    yield started
    started.kill()


def stored(tracker: str, target: str) -> dict[str, dict]:
    """name of a run -> what the tracker has of it; each is there once."""
    command = [str(PYTHON), str(READER), tracker, target]
    runs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    named = {run["name"]: run for run in runs}
    assert len(named) == len(runs)
    return named


def same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def compare(run: dict, folder: Path) -> int:
    """Check every number of metrics.csv and summary.json; return how many there are."""
    columns = read_metrics(folder / "metrics.csv")
    summary = json.loads((folder / "summary.json").read_text())
    count = 0
    for name in columns.keys() - {"epoch"}:
        history = sorted(run["history"][name])
        assert [epoch for epoch, _ in history] == columns["epoch"], name
        for (_, value), expected in zip(history, columns[name], strict=True):
            assert same(float(value), expected), name
            count += 1
    for name, value in summary["metrics"].items():
        split, _, metric = name.partition("/")
        key = name if split == "test" else f"{split}_best/{metric}"
        assert same(float(run["final"][key]), math.nan if value is None else value)
        count += 1
    assert run["final"]["best_epoch"] == summary["best_epoch"]
    assert {"config.yaml", "summary.json"} <= set(run["artifacts"])
    return count


def finish(folder: str, tracker: str, **environment: str) -> None:
    """Wait for the process in the background, and check that nothing is missing and that nothing is
    sent twice.
    """
    for _ in range(2):
        ended = mlplab("mirror", folder, "--to", tracker, **environment)
        assert ended.returncode == 0, ended.stderr
    assert "nothing new" in ended.stdout


def test_a_run_and_sweeps_of_a_hundred_jobs_arrive_exactly(server):
    mirror = "tracking.mirror=[mlflow,wandb]"
    uri = {"MLFLOW_TRACKING_URI": server.uri}
    full = [override for override in QUICK if not override.startswith("tracking")]
    for line in (
        ["train", *full, mirror, "hydra.run.dir=run"],
        ["train", *SWEEP, mirror, "hydra.sweep.dir=folders"],
        ["train", *SWEEP, mirror, "tracking.jobs=packed", "hydra.sweep.dir=packed"],
    ):
        ended = mlplab(*line, **uri)
        assert ended.returncode == 0, ended.stderr
    for folder in ("run", "folders", "packed"):
        for tracker in ("mlflow", "wandb"):
            finish(folder, tracker, **uri)
    for number in range(100):
        assert main(["open", "packed", str(number)]) == 0
    for tracker, target in (("mlflow", server.uri), ("wandb", "outputs/wandb")):
        runs = stored(tracker, target)
        assert len(runs) == 1 + 101 + 101
        numbers = compare(runs["run"], Path("run"))
        assert "pictures/curves.png" in runs["run"]["artifacts"]
        for sweep in ("folders", "packed"):
            parent = runs[sweep]
            assert parent["kind"] == "sweep"
            assert parent["final"]["done"] == 100
            for number in range(100):
                job = runs[f"{sweep}/{number}"]
                assert job["parent"] == (parent["tracker_id"] if tracker == "mlflow" else sweep)
                numbers += compare(job, Path(sweep, "jobs", str(number)))
        record_measurement("trackers", tracker=tracker, numbers=numbers)


def test_without_variables_the_store_is_local_and_nothing_is_connected(tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace shows connections")
    assert mlplab("train", *QUICK, "hydra.run.dir=run").returncode == 0
    for tracker in ("mlflow", "wandb"):
        command = [str(PYTHON), "-P", "-m", "mlplab", "mirror", "run", "--to", tracker]
        trace = ["strace", "-f", "-e", "trace=connect,sendto", "-o", f"{tracker}.txt"]
        subprocess.run([*trace, *command], check=True, capture_output=True, timeout=WAITED)
        assert "AF_INET" not in Path(f"{tracker}.txt").read_text()
    runs = stored("mlflow", f"sqlite:///{tmp_path}/outputs/mlflow.db")
    compare(runs["run"], Path("run"))
    assert list(Path("outputs/mlflow-artifacts").rglob("summary.json"))
    compare(stored("wandb", "outputs/wandb")["run"], Path("run"))


@pytest.mark.parametrize("fault", ["killed", "silent", "absent"])
def test_a_server_that_does_not_answer_changes_no_result(fault, server):
    assert mlplab("train", *QUICK, "hydra.run.dir=plain").returncode == 0
    uri = server.uri
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        if fault == "silent":
            uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        elif fault == "absent":
            uri = f"http://127.0.0.1:{free_port()}"
        else:
            os.killpg(server.process.pid, signal.SIGSTOP)  # it has accepted what comes, and dies
        line = ["train", *QUICK, "tracking.mirror=[mlflow]", "hydra.run.dir=run"]
        start = time.monotonic()
        ended = mlplab(*line, MLFLOW_TRACKING_URI=uri)
        record_measurement("a server that is", fault=fault, seconds=time.monotonic() - start)
        if fault == "killed":
            server.kill()
            server.start()
    assert ended.returncode == 0
    assert "`mlplab mirror run --to mlflow` sends" in ended.stderr
    assert digest(Path("run")) == digest(Path("plain"))
    finish("run", "mlflow", MLFLOW_TRACKING_URI=server.uri)
    compare(stored("mlflow", server.uri)["run"], Path("run"))


def test_a_run_that_is_extended_continues_in_the_tracker(server):
    uri = {"MLFLOW_TRACKING_URI": server.uri}
    line = ["train", *QUICK, "tracking.mirror=[mlflow,wandb]", "hydra.run.dir=run"]
    assert mlplab(*line, **uri).returncode == 0
    for tracker in ("mlflow", "wandb"):
        finish("run", tracker, **uri)
    before = stored("mlflow", server.uri)["run"]
    assert mlplab("resume", "run", "training.epochs=20", **uri).returncode == 0
    for tracker in ("mlflow", "wandb"):
        finish("run", tracker, **uri)
    after = stored("mlflow", server.uri)["run"]
    assert after["tracker_id"] == before["tracker_id"]
    assert after["tags"]["mlplab.changed.training.epochs"] == "20"
    compare(after, Path("run"))
    files = sorted(Path("outputs/wandb").glob("offline-run-*/*.wandb"))
    assert len({path.name for path in files}) == 1  # the same id, and all of the run each time
    assert len(files) == 2
