"""A TensorBoard server for tests."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import urllib.request

from harness import wait_for


@contextlib.contextmanager
def serve(folder, expected):
    """The address of a TensorBoard that serves a folder, once it lists the expected run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)),
        *("--host", "127.0.0.1", "--port", str(port), "--load_fast=false"),
        "--samples_per_plugin=images=100",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"

    def is_listed():
        try:
            return expected in urllib.request.urlopen(f"{address}/data/runs", timeout=5).read()
        except OSError:
            return False

    try:
        wait_for(is_listed)
        yield address
    finally:
        process.terminate()
        process.wait(20)
