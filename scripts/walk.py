#!/usr/bin/env python
"""Print the modules of mlplab that a value passes through, from the command line to its use.

    scripts/walk.py               # all walks
    scripts/walk.py lr cell       # some of them: lr, swept, cell

Each walk runs a command in a process of its own with a value that occurs nowhere else, and looks at
the arguments, local variables and return values of every call inside src. A module holds the value
if one of them is the value, is text or a small array that contains it, or has it as an element or
field. A hop is a hand-over from one module to another, counted once for each pair of modules.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))

MAX_ITEMS = 64
"""Size of the largest container and array that is searched."""

LR, CELL = "0.0123457", "1234.5678"
QUICK = ["training.epochs=2", "tracking=summary", "device=cpu"]
# Adam's first update is nearly lr, so biases that start at 0 would be lr after it
XOR = ["experiment=xor_mlp", "initializer.bias=0.5", *QUICK]
# without scaling, the cell reaches the network unchanged
TABLE = ["dataset=file", "dataset.path=train.csv", "dataset.target=y", "dataset.scaling=none"]
WALKS = {
    "lr": (LR, ["train", *XOR, f"optimizer.lr={LR}", "hydra.run.dir=run"]),
    "swept": (LR, ["train", "-m", *XOR, f"optimizer.lr={LR},0.01", "hydra.sweep.dir=sweep"]),
    "cell": (CELL, ["predict", "model", "new.csv", "-o", "out.csv"]),
}


class Walk:
    """The modules that hold the value of `text`, and the hops between them, in order."""

    def __init__(self, text: str) -> None:
        self.text, self.number = text, float(text)
        self.modules: list[str] = []
        self.hops: dict[tuple[str, str], None] = {}
        self._last: str | None = None

    def watch(self, run: Callable[[], object]) -> None:
        """Run the function and record its walk."""
        sys.setprofile(self._event)
        try:
            run()
        finally:
            sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, returned: object) -> None:
        if event not in ("call", "return"):
            return
        module = _module(frame)
        values = [*frame.f_locals.values(), returned if event == "return" else None]
        if module is None or not any(self._holds(value) for value in values):
            return
        if module not in self.modules:
            self.modules.append(module)
        if self._last not in (None, module):
            self.hops[str(self._last), module] = None
        self._last = module

    def _holds(self, value: object) -> bool:
        return self._is_value(value) or any(self._is_value(item) for item in _items(value))

    def _is_value(self, value: object) -> bool:
        if isinstance(value, str):
            return self.text in value
        if isinstance(value, bytes):
            return self.text.encode() in value
        if isinstance(value, float):
            return math.isclose(value, self.number, rel_tol=1e-6)
        return any(self._is_value(cell) for cell in _cells(value))


def _module(frame: FrameType) -> str | None:
    """Return the module of a call, from its globals, since generated methods have no file."""
    file = frame.f_globals.get("__file__")
    if not (isinstance(file, str) and file.startswith(str(SOURCE)) and file.endswith(".py")):
        return None
    names = Path(file).relative_to(SOURCE).with_suffix("").parts
    return ".".join(name for name in names if name != "__init__")


def _items(value: object) -> Iterable[object]:
    """Return the elements of a small container and the fields of a dataclass."""
    if isinstance(value, Mapping) and type(value).__module__ == "builtins":
        return [*value, *value.values()] if len(value) <= MAX_ITEMS else ()
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value) if len(value) <= MAX_ITEMS else ()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [vars(value).get(field.name) for field in dataclasses.fields(value)]
    return ()


def _cells(value: Any) -> list[object]:
    """Return the numbers and strings of a small array, tensor, series or data frame."""
    if type(value).__module__.partition(".")[0] not in ("numpy", "torch", "pandas", "pyarrow"):
        return []
    try:
        if hasattr(value, "detach"):
            import torch

            while torch._C._functorch.is_functorch_wrapped_tensor(value):
                value = torch._C._functorch.get_unwrapped(value)
            value = value.detach()
        if hasattr(value, "to_numpy"):
            value = value.to_numpy()
        if math.prod(value.shape) > MAX_ITEMS:
            return []
        cells = value.reshape(-1).tolist()
    except Exception:  # a type, or an array that is not plain
        return []
    return [cell for cell in cells if isinstance(cell, (str, float))]


def _write_tables() -> None:
    rows = [f"{i / 7:.4f},{(i * 37) % 11},{'ab'[i % 2]}" for i in range(60)]
    Path("train.csv").write_text("\n".join(["u,v,y", *rows, ""]), encoding="utf-8")
    Path("new.csv").write_text(f"u,v\n0.25,3\n{CELL},4\n", encoding="utf-8")


def walk(name: str) -> None:
    """Print the walk of this name. Raises SystemExit if its command fails."""
    from mlplab.cli import main

    text, arguments = WALKS[name]
    recorded, codes, clock = Walk(text), [0], itertools.count()
    # what is printed at which time must not depend on the speed of the machine
    time.monotonic = time.perf_counter = lambda: next(clock) / 1000
    out, sys.stdout = sys.stdout, open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if name == "cell":
        _write_tables()
        codes.append(main(["train", *TABLE, *QUICK, "hydra.run.dir=model"]))
    recorded.watch(lambda: codes.append(main(arguments)))
    sys.stdout = out
    if any(codes):
        raise SystemExit(f"mlplab {' '.join(arguments)} failed with exit code {codes[-1]}")
    print(f"{name}: {text} in mlplab {' '.join(arguments)}")
    print(f"{len(recorded.modules)} modules, {len(recorded.hops)} hops")
    for number, module in enumerate(recorded.modules, 1):
        print(f"{number:4} {module}")
    for source, target in recorded.hops:
        print(f"     {source} -> {target}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        walk(sys.argv[2])
    else:
        names = sys.argv[1:] or list(WALKS)
        if not set(names) <= set(WALKS):
            raise SystemExit(f"usage: scripts/walk.py [{'] ['.join(WALKS)}]")
        for walk_name in names:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, str(Path(__file__).resolve()), "--here", walk_name]
                subprocess.run(command, cwd=folder, check=True)
