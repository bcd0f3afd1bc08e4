"""Runs and sweeps that are mirrored, trained once."""

from __future__ import annotations

import json
import shutil

import fake_tracker
import pytest

import mlplab
from mlplab.mirroring.sending import Mirror

QUICK = ["experiment=xor_mlp", "dataset.num_samples=60", "training.epochs=6", "tracking=summary"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folders of a run, and of a sweep with folders of jobs and one with packs."""
    root = tmp_path_factory.mktemp("trained") / "outputs"
    mlplab.run(QUICK, root / "runs" / "xor" / "run")
    for form in ("folders", "packed"):
        mlplab.sweep([*QUICK, "seeds=3", f"tracking.jobs={form}"], root / "sweeps" / "xor" / form)
    return root


@pytest.fixture
def outputs(trained, tmp_path):
    """Copies of them."""
    return shutil.copytree(trained, tmp_path / "outputs")


@pytest.fixture(autouse=True)
def _no_records(monkeypatch):
    fake_tracker.RECORDS.clear()
    for name in ("RECORDER", "RECORDER_FAULT", "RECORDER_AT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sent():
    """(folder, number of a job, options) -> what a mirror sends of it, as records by id."""

    def send(folder, only=None, ended=True, **options):
        fake_tracker.RECORDS.clear()
        Mirror(folder, fake_tracker.NAME, only=only, **options).sync(ended)
        return by_run(fake_tracker.RECORDS)

    return send


def by_run(records):
    """id of a run -> its name, kind, parent, params, rows, artifacts, status and final numbers."""
    runs = {}
    for record in records:
        record = json.loads(json.dumps(record))
        run = runs.setdefault(record["id"], {"rows": [], "artifacts": {}, "methods": []})
        run["methods"].append(record["method"])
        match record.pop("method"):
            case "open":
                run |= record
            case "params":
                run["params"] = record["values"]
            case "metrics":
                run["rows"] += record["rows"]
            case "artifact":
                run["artifacts"][record["name"]] = record["size"]
            case "close":
                run |= record
        runs[record["id"]] = run
    return runs
