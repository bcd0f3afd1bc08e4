"""Provenance names what decides a result, cheaply, and nothing secret."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, tzinfo
from importlib import import_module, metadata
from pathlib import Path

import pytest
from timing import cheapest

from mlplab.runs.provenance import provenance

module = import_module("mlplab.runs.provenance")  # the package has the function under that name


class FixedClock(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> FixedClock:
        return cls(2026, 2, 3, 4, 5, 6, 789, tz)


def test_it_names_versions_command_data_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "datetime", FixedClock)
    record = provenance(["mlplab", "train", "seed=3"], "abc123")
    assert json.loads(json.dumps(record)) == record
    assert record["command"] == ["mlplab", "train", "seed=3"]
    assert record["data_hash"] == "abc123"
    assert record["versions"]["torch"] == metadata.version("torch")
    assert record["versions"]["hydra"] == metadata.version("hydra-core")
    assert set(record["versions"]) == {"python", "mlplab", "torch", "numpy", "hydra", "omegaconf"}
    assert set(record["machine"]) == {"host", "os", "cpu", "cores", "threads"}
    assert record["machine"]["cores"] >= 1
    assert record["started"] == "2026-02-03T04:05:06+00:00"


def test_it_tells_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPLAB_TEST_TOKEN", "s3cret-value")
    assert "s3cret-value" not in json.dumps(provenance([], ""))


@pytest.mark.campaign("timing")
def test_after_the_first_time_it_costs_next_to_nothing() -> None:
    provenance([], "")
    assert cheapest(lambda: [provenance([], "") for _ in range(100)], attempts=3) / 100 < 0.001


def git(folder: Path, *arguments: str) -> str:
    config = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *config, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def state(checkout: Path | None) -> dict[str, object] | None:
    module._git.cache_clear()
    return module._git(checkout)


def test_git_says_the_commit_and_whether_the_sources_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1\n")
    assert state(tmp_path) == {"commit": None, "dirty": True}
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # of the caller, not of the checkout
    assert state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "notes.txt").touch()
    assert state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "src" / "b.py").touch()
    assert state(tmp_path) == {"commit": commit, "dirty": True}
    (tmp_path / "src" / "b.py").unlink()
    (tmp_path / "src" / "a.py").write_text("2\n")
    assert state(tmp_path) == {"commit": commit, "dirty": True}


def test_without_a_checkout_or_git_it_says_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state(None) is None
    assert state(tmp_path) is None or (tmp_path / ".git").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert state(tmp_path) is None
    module._git.cache_clear()
