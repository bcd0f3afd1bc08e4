"""Starts the processes that mirror a training, and waits for them at its end, but not for long."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mlplab.config import plugins
from mlplab.config.suggestions import did_you_mean
from mlplab.errors import ConfigError, MlplabError
from mlplab.extras import require
from mlplab.io.links import make_folder, open_to_append
from mlplab.mirroring.state import FOLDER, sent_so_far
from mlplab.python_command import python_command, safe_environment
from mlplab.settings import Settings
from mlplab.terminal.output import count, note
from mlplab.terminal.suggested import mirror_command
from mlplab.trackers import find, names

WAIT = 1.5
"""Seconds that a training waits at its end for all its trackers together."""

_mirrored: set[Path] = set()  # folders that are mirrored now
_left: list[subprocess.Popen[bytes]] = []  # processes that go on after their training


def check_trackers(wanted: Sequence[str], key: str = "tracking.mirror") -> None:
    """Raise ConfigError if there is no tracker of a name, or MissingExtraError if its package is
    not installed.
    """
    for name in wanted:
        if name not in names():
            raise ConfigError(
                f"`{key}`: there is no tracker `{name}`. {did_you_mean(name, names())}Trackers:"
                f" {', '.join(names())}; --plugin FILE adds others."
            )
        tracker = find(name)
        if tracker.modules:
            require(f"`{key}` {name}", tracker.extra or name, *tracker.modules)


def checked_trackers(settings: Iterable[Settings]) -> list[str]:
    """Return the names of the trackers to which one of these jobs is mirrored, after checking them
    as `check_trackers` does.
    """
    lists = {id(one.tracking): one.tracking.mirror for one in settings}
    wanted = list(dict.fromkeys(name for names in lists.values() for name in names))
    check_trackers(wanted)
    return wanted


@contextlib.contextmanager
def mirrored(folder: Path, wanted: Sequence[str]) -> Iterator[None]:
    """Context in which a folder that a training fills is mirrored to trackers.

    At its end it waits at most `WAIT` seconds. What a tracker does not have by then it gets from
    its process in the background, if it can; one line says so, and how to repeat it. Nothing that
    happens to a tracker raises. A folder inside one that is mirrored already is left to that.
    """
    path = folder.resolve()
    if not wanted or not _mirrored.isdisjoint([path, *path.parents]):
        yield
        return
    _left[:] = [process for process in _left if process.poll() is None]
    _mirrored.add(path)
    processes = {name: _start(folder, name) for name in dict.fromkeys(wanted)}
    try:
        yield
    finally:
        _mirrored.discard(path)
        _end(folder, processes)


def _start(folder: Path, tracker: str) -> subprocess.Popen[bytes] | None:
    command = python_command("-m", "mlplab", "mirror", str(folder.absolute()), "--to", tracker)
    for file in plugins.loaded_files():
        command += ["--plugin", str(file)]
    try:
        with open_to_append(make_folder(folder / FOLDER) / f"{tracker}.log") as log:
            return subprocess.Popen(
                [*command, "--follow"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the training
                env=safe_environment(),
            )
    except (OSError, MlplabError) as error:
        note(f"{folder} is not mirrored to {tracker}: {error}")
        return None


def _end(folder: Path, processes: dict[str, subprocess.Popen[bytes] | None]) -> None:
    """Tell the processes that the training has ended, wait for them, and note what they lack."""
    running = {name: process for name, process in processes.items() if process is not None}
    for process in running.values():
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.write(b"end\n")  # a fork of this process may keep the pipe open
            process.stdin.close()
    deadline = time.monotonic() + WAIT
    for name, process in running.items():
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _left.append(process)
            note(
                f"{name} has {_progress(folder, name)} so far, and gets the rest in the background"
                f" (errors: {folder / FOLDER / f'{name}.log'}). `{_command(folder, name)}`"
                " sends what it may lack then."
            )
            continue
        if code:
            note(
                f"{name} has only {_progress(folder, name)}: {_reason(folder, name)}."
                f" `{_command(folder, name)}` sends the rest later."
            )


def _command(folder: Path, tracker: str) -> str:
    """The command line that sends what is missing."""
    files = [] if find(tracker).extra else plugins.loaded_files()
    return mirror_command(folder, tracker, [str(file) for file in files])


def _progress(folder: Path, tracker: str) -> str:
    is_sweep = (folder / "plan.yaml").is_file()
    return count(sent_so_far(folder, tracker), "job" if is_sweep else "evaluation")


def _reason(folder: Path, tracker: str) -> str:
    """The last line of the log, which has the error."""
    with contextlib.suppress(OSError, IndexError):
        path = folder / FOLDER / f"{tracker}.log"
        return path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1][:300]
    return "unknown reason"
