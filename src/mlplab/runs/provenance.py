"""The origin of a run: versions, command, source and machine, to explain why two runs differ.

It contains no environment variables; the command is kept as it was typed, passwords in it too.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from mlplab.io.reading import read_json
from mlplab.runs.run_index import json_or_empty
from mlplab.terminal.suggested import flags_of, resume_command

_PACKAGES = {
    "mlplab": "mlplab",
    "torch": "torch",
    "numpy": "numpy",
    "hydra": "hydra-core",
    "omegaconf": "omegaconf",
}


def provenance(command: Sequence[str], data_hash: str) -> dict[str, Any]:
    """Return plain values for provenance.json; unknown values are None.

    All but the time and the threads are looked up once per process.
    """
    torch = sys.modules.get("torch")  # not imported here, because a test may run without it
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "data_hash": data_hash,
        "versions": dict(_versions()),
        "git": _git(_checkout()),
        "machine": {**_machine(), "threads": torch.get_num_threads() if torch else None},
    }


def is_data_of_training(folder: Path, data_hash: str) -> bool:
    """Whether the run in a folder was trained on the data with this hash."""
    return bool(read_json(folder / "provenance.json").get("data_hash") == data_hash)


@cache
def _versions() -> dict[str, str | None]:
    from importlib import metadata

    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name, package in _PACKAGES.items():
        try:
            versions[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


@cache
def _checkout() -> Path | None:
    """The source checkout that this package runs from; None if it is installed, even inside another
    repository.
    """
    source = Path(__file__).resolve().parents[2]
    return source.parent if source.name == "src" and (source.parent / ".git").exists() else None


@cache
def _git(checkout: Path | None) -> dict[str, object] | None:
    """The commit of the checkout, and whether src or configs differ from it."""
    if checkout is None:
        return None
    status = ["status", "--porcelain=v2", "--branch", "--", "src", "configs"]
    try:
        result = subprocess.run(
            ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *status],
            cwd=checkout,
            env={key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
            capture_output=True,
            text=True,
            timeout=1,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    commit = re.search(r"^# branch\.oid ([0-9a-f]+)$", result.stdout, re.MULTILINE)
    return {
        "commit": commit[1] if commit else None,
        "dirty": any(not line.startswith("#") for line in result.stdout.splitlines()),
    }


@cache
def _machine() -> dict[str, object]:
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "host": socket.gethostname(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
    }


def _cpu() -> str | None:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if model := re.search(r"^model name\s*:(.*)", text, re.MULTILINE | re.IGNORECASE):
            return model[1].strip()
    return platform.processor() or None


def command_flags(folder: Path) -> list[tuple[str, str]]:
    """Return the flags that a command line needs to compose a run again, each with its value, as in
    the command that started it. Empty if provenance.json cannot be read.
    """
    command = json_or_empty(folder / "provenance.json").get("command")
    tokens = [str(token) for token in command] if isinstance(command, list) else []
    return flags_of(tokens, ("--plugin", "--config-dir", "-cd"))


def command_to_resume(folder: Path) -> str:
    """Return the command line that finishes a run, with the plugins that it was started with."""
    plugins = [path for name, path in command_flags(folder) if name == "--plugin"]
    return resume_command(folder, plugins)
