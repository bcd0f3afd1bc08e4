"""Engines that run workers: devices, time limits and arrays, without a GPU or a cluster."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cli_process
import pytest
from harness import wait_for

from mlplab.cli import main
from mlplab.config import cluster_options
from mlplab.errors import ConfigError, IncompatibleSettingsError
from mlplab.python_command import python_command
from mlplab.sweeps.execution import worker_pool
from mlplab.sweeps.execution.engines import local, slurm

SHOW = (
    "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ['OMP_NUM_THREADS'],"
    " 'torch' in __import__('sys').modules)"
)


def ended(handle):
    """Wait for a worker to end and return how it ended."""
    wait_for(lambda: handle.ended() is not None)
    return handle.ended()


def device_names(monkeypatch, count, variable):
    """The result of visible_devices() if torch counts `count` devices."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    if variable is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    return local.visible_devices()


def test_devices_are_named_as_in_the_environment(monkeypatch):
    assert device_names(monkeypatch, 0, None) == []
    assert device_names(monkeypatch, 3, None) == ["0", "1", "2"]
    assert device_names(monkeypatch, 2, "3, 1") == ["3", "1"]
    assert device_names(monkeypatch, 2, "GPU-8932f937,MIG-7c1e") == ["GPU-8932f937", "MIG-7c1e"]
    # devices after -1 are hidden, and torch does not count them
    assert device_names(monkeypatch, 1, "2,-1,0") == ["2"]
    assert device_names(monkeypatch, 0, "") == []


def test_each_worker_has_a_device_in_turn(monkeypatch, tmp_path):
    monkeypatch.setattr(local, "visible_devices", lambda: ["4", "7"])
    engine = local.Local(cluster_options.options("local", {}), tmp_path)
    sleep = [sys.executable, "-c", f"{SHOW}; import time; time.sleep(60)"]
    handles = engine.start([sleep] * 3, 0, 2)
    assert [handle.name for handle in handles] == [
        f"worker {i} on CUDA device {device}" for i, device in enumerate("474")
    ]
    handles[1].kill()
    assert "SIGKILL" in ended(handles[1])
    [another] = engine.start([[sys.executable, "-c", SHOW]], 3, 1)
    assert ended(another) == "exit code 0"
    # the device of the crashed worker, set before anything is imported
    assert (tmp_path / "workers" / "3.log").read_text() == "7 1 False\n"
    for handle in handles:
        handle.kill()
        ended(handle)


def test_without_cuda_nothing_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    engine = local.Local(cluster_options.options("local", {}), tmp_path)
    [handle] = engine.start([[sys.executable, "-c", SHOW]], 0, 1)
    assert ended(handle) == "exit code 0"
    assert handle.name == "worker 0"
    assert (tmp_path / "workers" / "0.log").read_text() == " 1 False\n"


def test_a_worker_over_its_time_limit_is_stopped_and_then_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(local, "GRACE", 0.5)
    engine = local.Local(cluster_options.options("local", {"minutes": 0.03}), tmp_path)
    ignores_signals = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    )
    works_on = (
        "import os, time; p = f'.aside-{os.getpid()}-x'; os.mkdir(p)\nfor i in range(16):"
        " os.mkdir(f'{p}/{i}'); time.sleep(0.25)"
    )
    monkeypatch.chdir(tmp_path)
    polite, stubborn, working = engine.start(
        [
            [sys.executable, "-c", code]
            for code in ("import time; time.sleep(60)", ignores_signals, works_on)
        ],
        0,
        1,
    )
    assert (
        ended(polite) == "killed by SIGTERM, after 0.03 minutes without beginning or ending a job"
    )
    assert ended(stubborn).startswith("killed by SIGKILL, after 0.03 minutes")
    assert ended(working) == "exit code 0"  # it ran for 4 s and created a folder every 0.25 s


@pytest.mark.parametrize(
    ("engine", "cluster", "message"),
    [
        ("slurm", "{gpus: 0.5}", "a worker on Slurm needs whole GPUs"),
        ("slurm", "{gpu: 1}", "Did you mean `gpus`?"),
        ("slurm", "{minutes: 0}", "an integer >= 1"),
        ("slurm", "{minutes: 1.5}", "is not an integer"),
        ("slurm", "{partition: 5}", "is not a string"),
        ("slurm", "{extra: {export: ALL}}", "could run code"),
        ("slurm", "{extra: {get_user_env: 1}}", "could run code"),
        ("slurm", "{extra: {wra: date}}", "could run code"),
        ("slurm", "{extra: [1]}", "is not a mapping"),
        ("ray", "{gpus: 1.5}", "a fraction of only one GPU"),
        ("ray", "{gpus: -1}", "out of range"),
        ("ray", "{extra: {runtime_env: {pip: [x]}}}", "could run code"),
        ("local", "{minutes: 0}", "a number > 0"),
        ("local", "{cpus: 1}", "It has minutes."),
    ],
)
def test_invalid_cluster_options_are_rejected_before_files_are_created(
    engine, cluster, message, capfd, tmp_path
):
    assert (
        main(
            [
                "train",
                "-m",
                "dataset=xor",
                "seed=1,2",
                f"sweep.engine={engine}",
                f"sweep.cluster={cluster}",
                "hydra.sweep.dir=sweep",
            ]
        )
        == 2
    )
    errors = capfd.readouterr().err
    assert message in errors
    assert "sweep.cluster" in errors
    assert len(errors.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_line_breaks_in_slurm_options_are_rejected():
    for options in (
        {"partition": "main\ntouch evil"},
        {"extra": {"comment": "a\ntouch evil"}},
        {"extra": {"a\nb": 1}},
    ):
        with pytest.raises(ConfigError, match=r"sweep\.cluster"):
            cluster_options.options("slurm", options)


def test_valid_cluster_options_are_accepted():
    assert cluster_options.options("ray", {"gpus": 0.25}).gpus == 0.25
    assert cluster_options.options("ray", {"gpus": 2}).gpus == 2
    assert (
        cluster_options.options(
            "slurm", {"gpus": 2, "extra": {"constraint": "a100", "mail-type": "END"}}
        ).gpus
        == 2
    )


class Warm(local.Process):
    """A worker forked from a server that has already imported mlplab."""

    def __init__(self, command, name):
        self.name = name
        start_of_mlplab = python_command("-m", "mlplab")
        assert command[: len(start_of_mlplab)] == start_of_mlplab, command
        self._process = cli_process.start(*command[len(start_of_mlplab) :])


class FakeEngine:
    """An engine that records its calls and kills its first worker at once."""

    pause = 0.01

    def __init__(self):
        self.starts = []

    def start(self, commands, first, threads):
        self.starts.append((first, len(commands)))
        handles = [Warm(command, f"fake {first + i}") for i, command in enumerate(commands)]
        if first == 0:
            handles[0]._process.send_signal(signal.SIGKILL)
        return handles

    def close(self):
        pass


def test_the_first_workers_start_together_and_replacements_one_by_one(monkeypatch):
    fake = FakeEngine()
    monkeypatch.setattr(worker_pool, "make_engine", lambda *arguments: fake)
    overrides = [
        "experiment=xor_mlp",
        "training.epochs=3",
        "model.hidden=3,4,5",
        "tracking=summary",
        "device=cpu",
    ]
    assert main(["train", "-m", *overrides, "sweep.workers=3", "hydra.sweep.dir=sweep"]) == 0
    assert fake.starts[0] == (0, 3)
    assert all(number == 1 for _, number in fake.starts[1:])
    log = Path("sweep/workers.log").read_text()
    assert "fake 0: started as worker 0 of 3" in log
    assert "fake 0: killed by SIGKILL" in log


# Every Python process that an engine starts excludes the working folder from its module path.

PATHS = "import os, sys; print(sys.flags.safe_path, os.environ.get('PYTHONSAFEPATH'))"


def add_to_path(monkeypatch, folder, **scripts):
    """Create scripts with these names in a folder that comes first in PATH."""
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_local_workers_have_a_safe_path(monkeypatch, tmp_path):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(local, "visible_devices", list)
    engine = local.Local(cluster_options.options("local", {}), tmp_path)
    [handle] = engine.start([[sys.executable, "-c", PATHS]], 0, 1)
    assert ended(handle) == "exit code 0"
    assert (tmp_path / "workers" / "0.log").read_text() == "True 1\n"


SBATCH = """\
printf '%s\\n' "$@" >> "$TRACE"
echo "42;cluster"
"""
SRUN = """\
shift 2  # its options
exec "$@"
"""


def submit(monkeypatch, folder, commands, **options):
    """Submit workers to programs with the names of Slurm's; return the jobs and the arguments of
    sbatch.
    """
    monkeypatch.setenv("TRACE", str(folder / "trace"))
    add_to_path(
        monkeypatch,
        folder / "bin",
        sbatch=SBATCH,
        srun=SRUN,
        scontrol='echo "$@" >> "$TRACE"',
        scancel="",
    )
    sweep = folder / "sweep"
    sweep.mkdir()
    engine = slurm.Slurm(cluster_options.options("slurm", options), sweep)
    jobs = engine.start(commands, 5, 3)
    arguments = (folder / "trace").read_text().splitlines()
    (folder / "trace").unlink()
    return jobs, arguments


def test_slurm_is_given_a_shell_script_and_the_options_as_arguments(monkeypatch, tmp_path):
    command = ["work", "a folder; touch evil", "it's"]
    jobs, arguments = submit(
        monkeypatch,
        tmp_path,
        [command] * 2,
        partition="main; touch evil",
        memory_gb=2,
        extra={"mail_type": "END", "exclusive": True, "nice": False},
    )
    assert [job.name for job in jobs] == ["slurm job 42_0", "slurm job 42_1"]
    assert {
        "--parsable",
        "--partition=main; touch evil",
        "--time=60",
        "--mem=2GB",
        "--signal=USR2@90",
        "--requeue",
        "--array=0-1",
        "--mail-type=END",
        "--exclusive",
    } <= set(arguments)
    assert not any(argument.startswith("--nice") for argument in arguments)
    workers = tmp_path / "sweep" / "workers"
    assert workers.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in workers.iterdir()] == ["5.sh"]  # a script and no pickle
    assert arguments[-1] == str(workers / "5.sh")
    assert shlex.join(command) in (workers / "5.sh").read_text()


@pytest.mark.parametrize(
    ("code", "restarts", "is_requeued"),
    [("0", "0", False), ("1", "0", False), ("140", "3", True), ("140", "1000", False)],
)
def test_a_task_of_slurm_runs_its_command_and_is_queued_again_after_the_signal(
    code, restarts, is_requeued, monkeypatch, tmp_path
):
    """The script is run by the shell, as the task 1 of an array with two workers."""
    show = f"{PATHS}; print(os.environ['OMP_NUM_THREADS']); sys.exit({code})"
    submit(
        monkeypatch,
        tmp_path,
        [["false"], [sys.executable, "-c", show]],
    )
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "43")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    done = subprocess.run(
        ["sh", tmp_path / "sweep" / "workers" / "5.sh"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True 1\n3\n"
    assert done.returncode == int(code)
    trace = tmp_path / "trace"
    assert (trace.read_text() if trace.exists() else "") == "requeue 43\n" * is_requeued


def test_a_submission_that_slurm_refuses_is_explained(monkeypatch, tmp_path):
    add_to_path(monkeypatch, tmp_path / "bin", sbatch="echo invalid partition >&2; exit 1")
    engine = slurm.Slurm(cluster_options.options("slurm", {}), tmp_path)
    with pytest.raises(IncompatibleSettingsError, match="invalid partition"):
        engine.start([["work"]], 0, 1)


def test_without_the_commands_of_slurm_nothing_is_created(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("PATH", "")
    overrides = ["dataset=xor", "seed=0,1", "sweep.engine=slurm", "hydra.sweep.dir=sweep"]
    assert main(["train", "-m", *overrides]) == 2
    assert "sbatch" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_workers_of_ray_have_a_safe_path(monkeypatch, tmp_path):
    """Ray puts the folder in which it is started in the module path of its workers."""
    from mlplab.sweeps.execution.engines import ray

    init_states = []

    def init(**options):
        init_states.append((os.getcwd(), os.environ.get("PYTHONSAFEPATH")))

    fake = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    for options in ({}, {"address": "10.0.0.1:6379"}):
        ray.Ray(cluster_options.options("ray", options), tmp_path).close()
    assert init_states == [(os.sep, "1")] * 2
    assert Path.cwd() == tmp_path
    assert "PYTHONSAFEPATH" not in os.environ
    log = tmp_path / "ray.log"
    assert ray.run_worker([sys.executable, "-c", PATHS], 1, str(tmp_path), str(log)) == 0
    assert log.read_text() == "True 1\n"


# Slurm, of which only the answers of the controller are needed.

RECORDS = """\
JobId=12 ArrayJobId=12 ArrayTaskId=4-6%7 ArrayTaskThrottle=7 JobName=mlplab JobState=PENDING Reason=Resources NodeList= ExitCode=0:0
JobId=15 ArrayJobId=12 ArrayTaskId=2 JobName=mlplab JobState=RUNNING Reason=None NodeList=n2 ExitCode=0:0
JobId=14 ArrayJobId=12 ArrayTaskId=1 JobName=mlplab JobState=PENDING Reason=BeginTime NodeList=(null) ExitCode=0:0
JobId=13 ArrayJobId=12 ArrayTaskId=0 JobName=mlplab JobState=FAILED Reason=NonZeroExitCode NodeList=n1 ExitCode=1:0
"""  # noqa: E501


def fake_scontrol(monkeypatch, *answers):
    """Let scontrol return these answers in turn; return the list of its calls."""
    remaining, calls = list(answers), []

    def run(command, **more):
        calls.append(command)
        output, error = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return subprocess.CompletedProcess(command, 1 if error else 0, output, error)

    monkeypatch.setattr(slurm.subprocess, "run", run)
    return calls


def test_the_tasks_of_an_array_are_queried_together(monkeypatch):
    calls = fake_scontrol(monkeypatch, (RECORDS, ""))
    array = slurm.Submission("12", pause=60)
    # 3 has no record: it belongs to the waiting tasks
    assert [array.ended(f"12_{task}") for task in range(1, 7)] == [None] * 6
    assert array.ended("12_0") == "FAILED, exit code 1:0 on n1, reason NonZeroExitCode"
    assert calls == [["scontrol", "-o", "show", "job", "12"]]


def test_a_controller_that_does_not_answer_or_forgot_the_job(monkeypatch):
    silent, forgotten = (
        ("", "slurm_load_jobs error: Unable to contact slurm controller"),
        ("", "slurm_load_jobs error: Invalid job id specified"),
    )
    record = "JobId=7 JobName=mlplab JobState=COMPLETED Reason=None NodeList=n1 ExitCode=0:0\n"
    fake_scontrol(
        monkeypatch,
        silent,
        (record.replace("COMPLETED", "RUNNING"), ""),
        silent,
        (record, ""),
        forgotten,
    )
    job = slurm.Submission("7", pause=0)
    assert [job.ended("7") for _ in range(3)] == [None] * 3
    assert job.ended("7") == "COMPLETED, exit code 0:0 on n1, reason None"
    assert job.ended("7") == "gone from the queue"


def test_arrays_respect_the_size_limit_of_the_cluster(monkeypatch):
    fake_scontrol(monkeypatch, ("MaxArraySize            = 4\nMaxDBDMsgs = 20020\n", ""))
    assert slurm.max_array_size() == 4
    engine = slurm.Slurm.__new__(slurm.Slurm)
    assert [len(group) for group in engine._arrays([["work"]] * 10)] == [4, 4, 2]
    assert [len(group) for group in engine._arrays([["work"]])] == [1]
