"""Run the command line as a process: `run` to its end, `start` in the background.

The process is a child of a warm server (fork_server.py) that has imported everything. For tests of
the process itself (imports, interpreter flags, closed streams), `python_command` returns the real
command line for subprocess.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

SERVER = Path(__file__).parent / "fork_server.py"

cpu_seconds = 0.0
"""Processor seconds of all children of the server so far; the limit of a test counts them."""


def python_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mlplab", *arguments]


SOCKET = "MLPLAB_TESTS_SERVER"
"""The environment variable with the socket of a server that several test processes share."""


@functools.cache
def _server(everything: bool = False) -> str:
    """Return the path of a server's socket; it is started unless the environment names one."""
    shared = None if everything else os.environ.get(SOCKET)
    return shared or start_server(everything)


def start_server(everything: bool = False) -> str:
    """Start a server and return the path of its socket; connections wait until it is warm.

    With `everything` it imports what single commands import, too.
    """
    folder = tempfile.TemporaryDirectory(prefix="mlplab-tests-")
    path = str(Path(folder.name) / "socket")
    arguments = [path, *(["all"] if everything else [])]
    process = subprocess.Popen(
        [sys.executable, str(SERVER), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"listening\n", "the server of tests did not start"

    def stop() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        folder.cleanup()

    atexit.register(stop)
    return path


class CliProcess:
    """A running command with the interface of subprocess.Popen.

    Unless descriptors are passed, output and errors go to pipes that `communicate` reads.
    `everything` uses a server that has also imported what draws, reports, exports and searches;
    `kill_at` is the number of the operation on files before which the process is killed, and
    `count_file` receives the number of these operations.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        *,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        everything: bool = False,
        kill_at: int | None = None,
        count_file: Path | None = None,
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_server(everything))
        self._received = b""
        request = {
            "arguments": self.args,
            "cwd": str(Path(cwd or ".").absolute()),
            "env": dict(os.environ if env is None else env),
            "limits": dict(limits or {}),
            "kill_at": kill_at,
            "count_file": str(count_file) if count_file else None,
        }
        with open(os.devnull) as devnull:
            output, output_child = os.pipe()
            errors, errors_child = os.pipe()
            descriptors = [
                devnull.fileno() if stdin is None else stdin,
                output_child if stdout is None else stdout,
                errors_child if stderr is None else stderr,
            ]
            message = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(self._connection, [message], descriptors)
            self._connection.sendall(message[sent:])
            os.close(output_child)
            os.close(errors_child)
        self._pipes = {output: b"", errors: b""}
        self._open = [output, errors]
        self.pid: int = self._message(None)["pid"]

    def _message(self, seconds: float | None) -> dict | None:
        """The next line of the server, or None after `seconds`."""
        while b"\n" not in self._received:
            if not select.select([self._connection], [], [], seconds)[0]:
                return None
            data = self._connection.recv(4096)
            assert data, "the server of test processes is gone"
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def poll(self) -> int | None:
        return self._finish(0)

    def wait(self, timeout: float | None = None) -> int:
        if self._finish(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def _finish(self, seconds: float | None) -> int | None:
        global cpu_seconds
        if self.returncode is None and (ended := self._message(seconds)) is not None:
            self.returncode = os.waitstatus_to_exitcode(ended["status"])
            cpu_seconds += ended["seconds"]
            self._connection.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read both pipes to their end and wait. May be called again after TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._open:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = select.select(self._open, [], [], remaining)[0]
            if not ready:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            for descriptor in ready:
                data = os.read(descriptor, 1 << 16)
                self._pipes[descriptor] += data
                if not data:
                    self._open.remove(descriptor)
                    os.close(descriptor)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()) + 5)
        output, errors = (data.decode(errors="replace") for data in self._pipes.values())
        return output, errors

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(*arguments: str, **options) -> CliProcess:
    """Start `mlplab ARGUMENTS` in the background."""
    return CliProcess(arguments, **options)


def run(
    *arguments: str, code: int | None = 0, timeout: float = 120, **options
) -> subprocess.CompletedProcess[str]:
    """Run `mlplab ARGUMENTS` to its end; the exit code must be `code`, unless that is None."""
    process = start(*arguments, **options)
    try:
        output, errors = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert code is None or process.returncode == code, (process.returncode, errors[-2000:])
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
