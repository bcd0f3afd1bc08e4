#!/usr/bin/env python
"""Compare mlplab with other methods on 24 tables of Python packages, in the environment that
scripts/benchmark/tables_environment.sh makes.

    tables.py list
    tables.py run --half development --methods sklearn_mlp boosting
    tables.py report --half development
    tables.py acceptance

A result is one line of results.jsonl, for a table, seed, method and digest of its configuration
and versions; the loss of each test row is in losses/. What is there is not computed again, and a
run may be killed at any time. The held-back half is for one final measurement: methods of mlplab
need --final there. That measurement, on all tables, and its summary:

    tables.py run --half all --final --methods mlplab mlplab_ensemble
    tables.py acceptance
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from table_acceptance import acceptance
from table_list import HALVES, Table, split_of_rows, tables
from table_methods import METHODS, Array, Method, Predicted, Split
from table_report import report

ALL = "all"
SMALLEST = 1e-15  # probabilities are clipped here, as scikit-learn's log_loss does in float64


def losses_of(split: Split, predicted: Array) -> tuple[Array, dict[str, float]]:
    """The loss of each test row [N], squared error or log loss, and the scores."""
    y = split.y("test")
    if not np.isfinite(predicted).all():
        raise SystemExit(f"{split.table.name}: a prediction is not finite")
    if split.table.classifies:
        chances = predicted[np.arange(len(y)), y] / predicted.sum(1)
        losses = -np.log(np.clip(chances, SMALLEST, 1))
        accuracy = float((predicted.argmax(1) == y).mean())
        return losses, {"log_loss": float(losses.mean()), "accuracy": accuracy}
    losses = (predicted - y) ** 2
    r2 = float(1 - losses.mean() / y.var())
    return losses, {"rmse": float(losses.mean() ** 0.5), "r2": r2}


def measured(table: Table, seed: int, method: Method) -> tuple[Array, dict[str, Any]]:
    """Fit and predict; return the losses and the scores with the processor seconds."""
    frame = table.read()
    rows = split_of_rows(table, frame[table.target], seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        split = Split(table, frame, rows, seed, Path(folder))
        start = _cpu_seconds()
        predicted = method.predict(split, method.config)
        seconds = _cpu_seconds() - start
        if not isinstance(predicted, Predicted):
            predicted = Predicted(predicted)
        losses, scores = losses_of(split, predicted.values)
        uncertainty = predicted.uncertainty()
    return losses, {
        "scores": scores,
        **uncertainty,
        "cpu_seconds": round(seconds, 3),
        "rows": len(frame),
        "test_rows": len(losses),
    }


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def digest_of(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]


def lines(results: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of the results; a last line that a kill cut short is none."""
    path = results / "results.jsonl"
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)


def append(results: Path, line: dict[str, Any], losses: Array) -> None:
    """Store the losses, then the line that refers to them."""
    (results / "losses").mkdir(parents=True, exist_ok=True)
    name = "-".join(str(line[key]) for key in ("table", "seed", "method", "digest")) + ".npy"
    temporary = results / "losses" / f".{name}"
    np.save(temporary, losses.astype(np.float32))
    temporary.replace(results / "losses" / name)
    path = results / "results.jsonl"
    cut = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if cut else "") + json.dumps({**line, "losses": name}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def chosen_tables(arguments: argparse.Namespace) -> list[Table]:
    listed = tables()
    if unknown := set(arguments.tables or ()) - listed.keys():
        raise SystemExit(f"no such table: {', '.join(sorted(unknown))}; see tables.py list")
    return [
        table
        for table in listed.values()
        if arguments.half in (table.half, ALL) and table.name in (arguments.tables or listed)
    ]


def run(arguments: argparse.Namespace) -> None:
    ours = [name for name in arguments.methods if METHODS[name].is_ours]
    if arguments.half in ("held_back", ALL) and ours and not arguments.final:
        raise SystemExit(
            f"{', '.join(ours)}: the held-back tables are for one final measurement (--final)"
        )
    done = {(r["table"], r["seed"], r["method"], r["digest"]) for r in lines(arguments.results)}
    for name in arguments.methods:
        method = METHODS[name]
        described = method.described()
        digest = digest_of(described)
        for table in chosen_tables(arguments):
            for seed in range(arguments.seeds):
                key = (table.name, seed, name, digest)
                if table.task not in method.tasks or key in done:
                    continue
                line = dict(zip(("table", "seed", "method", "digest"), key, strict=True))
                losses, result = measured(table, seed, method)
                line |= {"half": table.half, "task": table.task, **result, **described}
                line["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                line["python"] = platform.python_version()
                append(arguments.results, line, losses)
                scores = ", ".join(f"{k} {v:.4g}" for k, v in result["scores"].items())
                print(
                    f"{time.strftime('%H:%M:%S')} {name} {table.name} seed {seed}: {scores},"
                    f" {result['cpu_seconds']} s",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("list", "run", "report", "acceptance"))
    parser.add_argument("--half", choices=(*HALVES, ALL), default=HALVES[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tables", nargs="+", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("outputs/tables"))
    parser.add_argument("--final", action="store_true", help="mlplab on held-back tables, too")
    arguments = parser.parse_args()
    if arguments.action == "list":
        for table in tables().values():
            print(f"{table.name:14} {table.half:12} {table.task:15} {table.source}")
    elif arguments.action == "run":
        run(arguments)
    elif arguments.action == "acceptance":
        halves = {name: table.half for name, table in tables().items()}
        print(acceptance(list(lines(arguments.results)), arguments.results / "losses", halves))
    else:
        names = [table.name for table in chosen_tables(arguments)]
        print(
            report(
                list(lines(arguments.results)),
                arguments.results / "losses",
                names,
                arguments.methods,
            )
        )


if __name__ == "__main__":
    main()
