"""A program that imports mlplab once and then forks a child for each command that a test runs.

`python -m mlplab` spends two to five seconds of processor time on imports. If a test needs a
separate process (signals, exit codes, descriptors, limits) but not those imports, a fork of a warm
parent behaves the same at a hundredth of the cost. The parent has one thread, so a fork is safe.

Usage: fork_server.py SOCKET [all]. It ends when its standard input is closed. With `all` it has
also imported what draws, reports, exports, predicts and searches. A client connects, sends one JSON
object {"arguments", "cwd", "env", "limits", "kill_at", "count_file"} with the descriptors of stdin,
stdout and stderr, and receives {"pid"} at once and {"status", "seconds"} (wait status, processor
seconds of the child and what it waited for) when the child has ended; each as one line.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import selectors
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NoReturn

os.environ["OMP_NUM_THREADS"] = "1"

MAX_REQUEST = 1 << 20
WRITES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree")
"""Audit events of operations that change a folder, besides those of opening a file to write."""


def warm_up(everything: bool) -> None:
    """Import what the commands import, and train and sweep once, so that children do neither."""
    import torch

    from mlplab.cli import COMMANDS, main

    torch.set_num_threads(1)
    for command in COMMANDS.values():
        __import__(command.function.partition(":")[0])
    quick = ["experiment=xor_mlp", "dataset.num_samples=60", "training.epochs=1"]
    before = Path.cwd()
    streams = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as devnull:
        os.chdir(folder)
        sys.stdout = sys.stderr = devnull
        try:
            main(["train", *quick, "tracking=scalars", "hydra.run.dir=run"])
            main(["train", "-m", *quick, "tracking=summary", "seed=0,1", "hydra.sweep.dir=sweep"])
            if everything:
                warm_up_reports(main, quick)
        finally:
            sys.stdout, sys.stderr = streams
            os.chdir(before)
    gc.collect()
    gc.freeze()


def warm_up_reports(main: Any, quick: list[str]) -> None:
    """Draw, report and search once, and import what predicts and exports.

    An export itself starts threads, of which a fork has no copy.
    """
    main(["train", *quick, "hydra.run.dir=drawn"])
    main(["report", "drawn"])
    search = ["optimizer.lr=interval(0.001,0.1)", "sweep.trials=4", "hydra.sweep.dir=search"]
    main(["train", *quick, "tracking=summary", *search])
    for name in ("pandas", "onnx", "onnxscript", "torch.onnx._internal.exporter._core"):
        __import__(name)
    tasks = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    # the thread of pyarrow's allocator, which supports forks
    if len([name for name in tasks if name != "jemalloc_bg_thd"]) > 1:
        raise RuntimeError(f"a fork would copy one of these threads: {tasks}")


def count_writes(kill_at: int | None, count_file: str | None) -> None:
    """Count the operations by which this process changes files below its folder; the one with the
    number `kill_at` does not take place, since the process is killed. `count_file` always has the
    current number.
    """
    count, below = 0, os.getcwd()
    descriptor = os.open(count_file, os.O_WRONLY | os.O_CREAT, 0o666) if count_file else None

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event in WRITES or (
            event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        )
        if not writes or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        if not os.path.join(below, os.fsdecode(arguments[0])).startswith(below + os.sep):
            return
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        if descriptor is not None:
            os.pwrite(descriptor, f"{count:9d}".encode(), 0)

    sys.addaudithook(hook)


def run_child(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Run `mlplab ARGUMENTS` in this process and exit as `python -m mlplab ARGUMENTS` would."""
    code = 1
    try:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        os.closerange(3, max(descriptors, default=2) + 64)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        # the streams stay open until the process ends
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(  # noqa: SIM115
            2, "w", buffering=1, closefd=False, errors="backslashreplace"
        )
        for name, limit in request["limits"].items():
            resource.setrlimit(getattr(resource, name), (limit, limit))
        if request["limits"] or request["kill_at"] is not None:
            sys.dont_write_bytecode = True  # half of a file would break the tests that follow
        sys.argv = ["mlplab", *request["arguments"]]
        if request["kill_at"] is not None or request["count_file"]:
            count_writes(request["kill_at"], request["count_file"])
        from mlplab.cli import main

        code = main(request["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class Server:
    def __init__(self, path: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ, None)
        self.selector.register(self.listener, selectors.EVENT_READ, None)

    def serve(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == 0:
                    return
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.reap(key.fileobj, *key.data)

    def accept(self) -> None:
        connection, _ = self.listener.accept()
        text, descriptors, _, _ = socket.recv_fds(connection, MAX_REQUEST, 3)
        while not text.endswith(b"\n"):
            text += connection.recv(MAX_REQUEST)
        pid = os.fork()
        if pid == 0:
            run_child(json.loads(text), list(descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))

    def reap(self, pidfd: Any, pid: int, connection: socket.socket) -> None:
        _, status, usage = os.wait4(pid, 0)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        seconds = usage.ru_utime + usage.ru_stime
        with contextlib.suppress(OSError):  # the client did not wait
            connection.sendall(json.dumps({"status": status, "seconds": seconds}).encode() + b"\n")
        connection.close()


if __name__ == "__main__":
    server = Server(sys.argv[1])
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    warm_up(everything="all" in sys.argv[2:])
    server.serve()
