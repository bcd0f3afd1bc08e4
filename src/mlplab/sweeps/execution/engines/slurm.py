"""Workers as the tasks of a Slurm job array, submitted as a shell script. The sweep's folder must
be on a file system that all nodes share.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlplab.config import cluster_options
from mlplab.errors import IncompatibleSettingsError
from mlplab.io.files import write_text_atomic
from mlplab.io.links import make_folder
from mlplab.python_command import SAFE_PATH

_ALIVE = (
    "PENDING",
    "RUNNING",
    "CONFIGURING",
    "COMPLETING",
    "REQUEUED",
    "SUSPENDED",
    "RESIZING",
    "REQUEUE_HOLD",
    "SIGNALING",
    "STAGE_OUT",
)
_DEFAULT_MAX_ARRAY_SIZE = 1001
"""Slurm's default MaxArraySize, used if the controller does not report it."""

MAX_REQUEUES = 1000
"""Times that a worker is queued again at its time limit or when it is preempted."""

SIGNALED = 128 + 12  # the exit code after SIGUSR2, which is 12 on Linux

_SCRIPT = """\
#!/bin/sh
# Slurm may be configured not to pass the environment on.
export {variables}
case "${{SLURM_ARRAY_TASK_ID:-0}}" in
{cases}
esac
srun --unbuffered --cpus-per-task="${{SLURM_CPUS_PER_TASK:-1}}" "$@"
code=$?
# SIGUSR2 comes before the time limit and on preemption: the worker has saved its population.
if [ "$code" -eq {signaled} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {max_requeues} ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def script(commands: Sequence[Sequence[str]], threads: int) -> str:
    """Return the batch script of an array whose task i runs the command line i."""
    variables = {**SAFE_PATH, "OMP_NUM_THREADS": str(threads)}
    return _SCRIPT.format(
        variables=" ".join(f"{name}={value}" for name, value in variables.items()),
        cases="\n".join(
            f"{index}) set -- {shlex.join(command)} ;;" for index, command in enumerate(commands)
        ),
        signaled=SIGNALED,
        max_requeues=MAX_REQUEUES,
    )


class Submission:
    """One `sbatch` of a job or an array, and its state as the controller reports it, queried once
    for all tasks and at most every `pause` seconds.
    """

    def __init__(self, number: str, pause: float) -> None:
        self.number, self.pause = number, pause
        self._queried_at = float("-inf")
        self._states: dict[str, str | None] = {}

    def ended(self, task: str) -> str | None:
        """How the task ("12_3", or "12" without an array) ended; None while it waits or runs."""
        if time.monotonic() - self._queried_at >= self.pause:
            self._query()
            self._queried_at = time.monotonic()
        # waiting tasks share one record
        waiting = any(state is None for name, state in self._states.items() if "[" in name)
        return self._states.get(task, None if waiting else "gone from the queue")

    def _query(self) -> None:
        """Ask the controller, which needs no accounting database but remembers ended jobs only for
        some minutes.
        """
        result = subprocess.run(
            ["scontrol", "-o", "show", "job", self.number],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode == 0:
            self._states = dict(map(parse_record, filter(str.strip, result.stdout.splitlines())))
        elif "Invalid job id" in result.stderr:
            self._states = {}
        elif not self._states:  # the controller does not answer: keep the known states
            self._states = {f"{self.number}_[]": None}


def parse_record(record: str) -> tuple[str, str | None]:
    """Parse a line of `scontrol -o show job`: the job's name ("12_3", "12_[4-7]" or "12"), and how
    it ended, or None while it waits or runs.
    """
    fields = dict(entry.split("=", 1) for entry in record.split() if "=" in entry)
    task = fields.get("ArrayTaskId")
    name = (
        fields.get("JobId", "?")
        if task is None
        else f"{fields.get('ArrayJobId', '?')}_{task if task.isdigit() else f'[{task}]'}"
    )
    if (state := fields.get("JobState", "UNKNOWN")) in _ALIVE:
        return name, None
    return (
        name,
        (
            f"{state}, exit code {fields.get('ExitCode', '?')} on {fields.get('NodeList', '?')},"
            f" reason {fields.get('Reason', '?')}"
        ),
    )


class Job:
    """A Slurm job, or one task of a job array."""

    def __init__(self, number: str, submission: Submission) -> None:
        self._number, self._submission = number, submission
        self.name = f"slurm job {number}"

    def ended(self) -> str | None:
        return self._submission.ended(self._number)

    def stop(self) -> None:
        subprocess.run(["scancel", self._number], capture_output=True, check=False)


class Slurm:
    """Starts workers in the cluster of this machine's Slurm client."""

    pause = 1.0

    def __init__(self, options: cluster_options.Slurm, folder: Path) -> None:
        self.folder = make_folder(folder / "workers").resolve()
        self.folder.chmod(0o700)  # whoever could replace a script would run code as this user
        optional = {
            "partition": options.partition,
            "account": options.account,
            "qos": options.qos,
            "gpus-per-node": options.gpus,
            "mem": f"{options.memory_gb}GB" if options.memory_gb else None,
        }
        self._options: dict[str, object] = {
            "job-name": f"mlplab-{folder.name}"[:60],
            "time": options.minutes,
            "cpus-per-task": options.cpus,
            "ntasks-per-node": 1,
            "nodes": 1,
            "signal": "USR2@90",  # seconds before the time limit, to the worker and not the script
            "requeue": True,
            "open-mode": "append",
            "chdir": Path.cwd(),
            **{key: value for key, value in optional.items() if value},
            **{key.replace("_", "-"): value for key, value in options.extra.items()},
        }

    def start(self, commands: Sequence[Sequence[str]], first: int, threads: int) -> list[Job]:
        """Submit one array whose tasks may all run at once, or several if the cluster limits the
        size of arrays. A single command becomes a job without array.

        Raises IncompatibleSettingsError if Slurm refuses the jobs.
        """
        jobs: list[Job] = []
        for group in self._arrays(commands):
            jobs += self._submit(group, first + len(jobs), threads)
        return jobs

    def _arrays(self, commands: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
        max_size = max_array_size() if len(commands) > 1 else 1
        for start in range(0, len(commands), max_size):
            yield commands[start : start + max_size]

    def _submit(self, commands: Sequence[Sequence[str]], first: int, threads: int) -> list[Job]:
        count, path = len(commands), self.folder / f"{first}.sh"
        write_text_atomic(path, script(commands, threads))
        placement: dict[str, object] = (
            {"output": self.folder / "%j.log"}
            if count == 1
            else {"output": self.folder / "%A_%a.log", "array": f"0-{count - 1}"}
        )
        result = subprocess.run(
            ["sbatch", "--parsable", *_arguments({**placement, **self._options}), str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        number = result.stdout.strip().partition(";")[0]  # "12", or "12;cluster"
        if result.returncode or not number.isdigit():
            raise IncompatibleSettingsError(
                f"Slurm did not accept the workers:"
                f" {' '.join((result.stderr or result.stdout).split())}. Change `sweep.cluster`,"
                " whose keys docs/scaling.md explains."
            )
        submission = Submission(number, self.pause / 2)
        names = [number] if count == 1 else [f"{number}_{index}" for index in range(count)]
        return [Job(name, submission) for name in names]

    def close(self) -> None:
        """There is nothing to release."""


def _arguments(options: Mapping[str, object]) -> list[str]:
    """The options of sbatch as arguments; those that are null or false are left out."""
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in options.items()
        if value is not None and value is not False
    ]


def max_array_size() -> int:
    """Maximum number of tasks of an array on this cluster: indices must be below MaxArraySize."""
    result = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, check=False
    )
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", result.stdout, re.MULTILINE)
    return max(1, int(match[1]) if match else _DEFAULT_MAX_ARRAY_SIZE)
