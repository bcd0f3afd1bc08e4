#!/usr/bin/env python
"""Record or check the digests of ten runs and three sweeps, which a refactoring must not change.

    scripts/digests.py record     # writes tests/digests.json
    scripts/digests.py check      # trains again and compares; exit code 1 if anything differs

A digest covers the bytes of weights.safetensors and metrics.csv and the content of summary.json
except times. Bits depend on the processor and on the version of torch, so the file has a section
for each machine that recorded; on another machine only the metrics are compared, to 1e-3.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

import mlplab

RECORD = Path(__file__).resolve().parents[1] / "tests" / "digests.json"
TIMES = ("seconds", "cpu_seconds")
QUICK = ["tracking=summary", "device=cpu"]
EAGER, NATIVE = [*QUICK, "engine=eager"], [*QUICK, "engine=native"]
TABLE = [
    *("experiment=null", "dataset=file", "dataset.path=table.csv", "dataset.missing=impute"),
    "training.epochs=15",
]
RUNS = {
    "radial": ["experiment=radial_6_6", "training.epochs=30"],
    "xor": ["experiment=xor_mlp", "seed=3"],
    "sine": ["experiment=sine_100", "training.epochs=60"],
    "iris": ["experiment=iris", "training.epochs=80", "training.patience=5"],
    "digits": [
        *("dataset=digits", "model.hidden=32-16", "model.dropout=0.2", "training.epochs=4"),
        *("model.normalization=batch", "optimizer=adamw", "schedule=cosine"),
    ],
    "plateau": [
        *("dataset=diabetes", "optimizer=nag", "schedule=plateau", "schedule.patience=2"),
        *("dtype=float64", "training.epochs=20", "loss=huber"),
    ],
    "penalties": [
        *("dataset=moons", "optimizer=lion", "activation=prelu", "model.normalization=layer"),
        *("training.clip_norm=0.5", "training.l1=1e-4", "training.epochs=20"),
    ],
    "diverged": ["experiment=xor_mlp", "optimizer=sgd", "optimizer.lr=1e30"],
    "table_classes": [*TABLE, "dataset.target=label", "dataset.ignore=[value]"],
    "table_values": [*TABLE, "dataset.target=value", "dataset.ignore=[label]"],
}
SWEEPS = {
    "seeds": ["experiment=radial_6_6", "training.epochs=15", "optimizer.lr=0.003,0.01", "seeds=6"],
    "structures": [
        *("experiment=xor_mlp", "training.epochs=10", "model.hidden=[3],[4],[5,3]"),
        *("activation=tanh,relu", "optimizer=adam,momentum"),
    ],
    "folds": ["experiment=iris", "training.epochs=15", "validation=kfold", "validation.folds=4"],
}

NATIVE_RUNS = ("radial", "xor", "sine", "iris", "diverged", "table_classes", "table_values")
"""The runs that the native engine trains too; it trains the first two sweeps."""


def write_table() -> None:
    """Write table.csv, with numbers, categories, dates and empty cells."""
    rng = np.random.default_rng(0)
    lines = ["x,color,day,label,value"]
    for i in range(160):
        x, color = rng.normal(), ("red", "green", "blue")[rng.integers(3)]
        value = 3 * x + 2 * (color == "red") + 0.1 * rng.normal()
        cell = "" if i % 17 == 0 else f"{x:.4f}"
        day = f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}"
        lines.append(f"{cell},{color},{day},{'yes' if value > 0 else 'no'},{value:.4f}")
    Path("table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def digest(folder: Path) -> dict[str, Any]:
    """The digests of one run folder, and its metrics."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    compared = {key: value for key, value in summary.items() if key not in TIMES}
    files = {name: (folder / name).read_bytes() for name in ("weights.safetensors", "metrics.csv")}
    files["summary.json"] = json.dumps(compared, sort_keys=True).encode()
    hashes = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in files.items()}
    return {**hashes, "metrics": compared["metrics"]}


def machine() -> str:
    """The processor and the versions of torch and numpy, on which the bits of a training depend."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{cpu}, {capability}, torch {torch.__version__}, numpy {np.__version__}"


def train_all() -> dict[str, dict[str, Any]]:
    """Train everything, and return {run name or sweep/job: its digests}."""
    before = Path.cwd()
    torch.set_num_threads(1)
    digests: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            write_table()
            runs = {name: [*EAGER, *overrides] for name, overrides in RUNS.items()}
            runs |= {f"native_{name}": [*NATIVE, *RUNS[name]] for name in NATIVE_RUNS}
            for name, overrides in runs.items():
                mlplab.run(overrides, f"runs/{name}")
                digests[name] = digest(Path("runs", name))
            sweeps = {name: [*EAGER, *overrides] for name, overrides in SWEEPS.items()}
            sweeps |= {f"native_{name}": [*NATIVE, *SWEEPS[name]] for name in list(SWEEPS)[:2]}
            for name, overrides in sweeps.items():
                mlplab.sweep(overrides, f"sweeps/{name}")
                jobs = sorted(Path("sweeps", name, "jobs").iterdir(), key=lambda job: int(job.name))
                digests |= {f"{name}/{job.name}": digest(job) for job in jobs}
        finally:
            os.chdir(before)
    return digests


def differences(recorded: dict[str, Any], trained: dict[str, Any], exact: bool) -> list[str]:
    """One line for each run that differs; only the metrics are compared unless `exact`."""
    lines = [f"{name}: not trained" for name in recorded.keys() - trained.keys()]
    lines += [f"{name}: not recorded" for name in trained.keys() - recorded.keys()]
    for name in recorded.keys() & trained.keys():
        old, new = recorded[name], trained[name]
        if exact:
            lines += [f"{name}: {key} differs" for key in old if old[key] != new[key]]
        elif old["metrics"].keys() != new["metrics"].keys():
            lines.append(f"{name}: has different metrics")
        else:
            lines += [
                f"{name}: {key} {value} -> {new['metrics'][key]}"
                for key, value in old["metrics"].items()
                if not np.isclose(value, new["metrics"][key], rtol=1e-3, atol=1e-3, equal_nan=True)
            ]
    return sorted(lines)


def check() -> list[str]:
    """Train everything, and return the differences from the record."""
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    here = machine()
    exact = here in recorded
    base = recorded[here] if exact else next(iter(recorded.values()))
    return differences(base, train_all(), exact)


def main() -> int:
    if sys.argv[1:] == ["record"]:
        recorded = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        recorded[machine()] = train_all()
        RECORD.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
        print(f"{RECORD}: {len(recorded[machine()])} runs on {machine()}")
        return 0
    if sys.argv[1:] == ["check"]:
        lines = check()
        print("\n".join(lines) or "nothing differs")
        return 1 if lines else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
