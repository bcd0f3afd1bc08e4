#!/usr/bin/env python
"""Compare `mlplab train experiment=xor_mlp` with `import torch`, and list what it spends time on.

The commands run in turn, in processes of their own, with the compiled libraries in the cache; the
result is the ratio of the medians. The table is from further runs whose functions and imports are
timed; a row does not include the time of another row.
Run: python scripts/benchmark/start_up.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import atexit
import functools
import importlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRAIN = ["train", "experiment=xor_mlp"]
MLPLAB = [sys.executable, "-m", "mlplab"]
COMMANDS = {
    "import torch": [sys.executable, "-c", "import torch"],
    "train experiment=xor_mlp": [*MLPLAB, *TRAIN],
    "train, until the result is printed": [*MLPLAB, *TRAIN],
    "train, tracking=scalars": [*MLPLAB, *TRAIN, "tracking=scalars"],
    "--help": [*MLPLAB, "--help"],
}
UNTIL_RESULT = "train, until the result is printed"

PACKAGES = {
    "torch": "import of torch and numpy",
    "numpy": "import of torch and numpy",
    "hydra": "import of Hydra and OmegaConf",
    "omegaconf": "import of Hydra and OmegaConf",
    "mlplab": "import of mlplab",
    "matplotlib": "import of matplotlib",
    "tensorboard": "import of TensorBoard's messages",
    "google": "import of TensorBoard's messages",
}
"""The row of an import, by the package; imports inside an import count for the outer one."""
OTHERS = "other imports"
CALLS = {
    "mlplab.config.plugins": {"load_installed": "composition"},
    "mlplab.config.composer": {
        "Composer.__init__": "composition",
        "Composer.compose_run": "composition",
        "Composer.is_multirun": "composition",
    },
    "mlplab.config.builder": {"build": "settings"},
    "mlplab.training.prepare": {"prepare_members": "data", "build_population": "population"},
    "mlplab.native.library_cache": {"load": "compiled libraries"},
    "mlplab.training.session": {"Session.run": "training"},
    "mlplab.training.outcome": {"outcomes_of": "training"},
    "mlplab.runs.folder": {"create_unique": "files"},
    "mlplab.runs.provenance": {"provenance": "provenance"},
    "mlplab.runs.record": {"Record.__init__": "files", "Record.finish": "files"},
    "mlplab.runs.checkpoints": {"Checkpoints.save": "files"},
    "mlplab.tracking.events": {
        f"EventWriter.{name}": "TensorBoard events"
        for name in ("__init__", "history", "add", "graph", "hparams", "text")
    },
    "mlplab.pictures.rendering.live_plotter": {
        "LivePlotter.__init__": "pictures",
        "LivePlotter.on_evaluation": "pictures",
        "LivePlotter.conclude": "pictures",
    },
    "mlplab.terminal.results": {"print_result": "printing"},
}
"""The row of a function, by its module and name."""


class Clock:
    """The seconds of each row: time passes for the row that was entered last."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.open = ["the rest"]
        self.last = time.perf_counter()

    def switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self.open[-1]] += now - self.last
        self.last = now

    def timed(self, row: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            self.switch()
            self.open.append(row)
            try:
                return function(*arguments, **options)
            finally:
                self.switch()
                self.open.pop()

        return wrapper


def inside(report: Path, arguments: list[str]) -> None:
    """Run the command line in this process, and write the seconds of each row to a file."""
    clock = Clock()
    bootstrap: Any = importlib._bootstrap  # type: ignore[attr-defined]
    load = bootstrap._find_and_load
    importing: list[str] = []

    def find_and_load(name: str, *rest: Any) -> Any:
        row = PACKAGES.get(name.partition(".")[0], OTHERS)
        # an import of mlplab's modules does not include the packages that they import
        if importing and PACKAGES["mlplab"] not in (importing[-1], row):
            return load(name, *rest)
        importing.append(row)
        try:
            module = clock.timed(row, load)(name, *rest)
        finally:
            importing.pop()
        for path, function_row in CALLS.get(name, {}).items():
            owner, _, function = path.rpartition(".")
            holder = getattr(module, owner) if owner else module
            if not hasattr(original := getattr(holder, function), "__wrapped__"):
                setattr(holder, function, clock.timed(function_row, original))
        return module

    bootstrap._find_and_load = find_and_load

    def write() -> None:
        clock.switch()
        report.write_text(json.dumps(clock.seconds))

    atexit.register(write)
    sys.argv = ["mlplab", *arguments]
    sys.exit(importlib.import_module("mlplab.cli").run_process())


def seconds(command: list[str], folder: Path, first_line: bool = False) -> float:
    """The wall time of a command, or of its output up to the line that says how the run ended."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        printed = next((time.perf_counter() for line in process.stdout if "done in" in line), None)
        process.stdout.read()
        process.wait()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return ((printed or time.perf_counter()) if first_line else time.perf_counter()) - start


def table(folder: Path, rounds: int) -> dict[str, float]:
    """The median seconds of each row."""
    runs: list[dict[str, float]] = []
    for number in range(rounds):
        report = folder / f"{number}.json"
        script = [sys.executable, __file__, f"--inside={report}", *TRAIN]
        whole = seconds(script, folder)
        rows = json.loads(report.read_text())
        runs.append({**rows, "the interpreter's start and end": whole - sum(rows.values())})
    return {row: statistics.median(run.get(row, 0.0) for run in runs) for row in runs[0]}


def main() -> None:
    if sys.argv[1:2] and sys.argv[1].startswith("--inside="):
        inside(Path(sys.argv[1].partition("=")[2]), sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for command in COMMANDS.values():  # compiles, and fills the caches
            seconds(command, folder)
        for _ in range(rounds):
            for name, command in COMMANDS.items():
                times[name].append(seconds(command, folder, name == UNTIL_RESULT))
        medians = {name: statistics.median(values) for name, values in times.items()}
        unit = medians["import torch"]
        print(f"{f'medians of {rounds}':40s} seconds   of import torch")
        for name, value in medians.items():
            print(f"{name:40s} {value:7.2f}   {value / unit:15.2f}")
        rows = table(folder, min(rounds, 3))
    print(f"\n{'where the time of train goes':40s} seconds   of import torch")
    for name, value in sorted(rows.items(), key=lambda item: -item[1]):
        print(f"{name:40s} {value:7.3f}   {value / unit:15.3f}")
    versions = {name: importlib.metadata.version(name) for name in ("torch", "hydra-core")}
    print(json.dumps({"python": sys.version.split()[0], **versions, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
