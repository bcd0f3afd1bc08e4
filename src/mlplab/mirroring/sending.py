"""Sends what a tracker does not have yet of a run folder, or of a sweep and its jobs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlplab.config.run_dir import DEFAULT_ROOT
from mlplab.mirroring.contents import (
    FINAL,
    RunContents,
    SweepContents,
    digest,
    evaluations,
)
from mlplab.mirroring.state import Sent, State
from mlplab.runs.plan_text import NAME as PLAN
from mlplab.trackers import Evaluation, TrackedRun, Tracker, find

Contents = RunContents | SweepContents
_CHUNK = 500
"""Evaluations that are sent at once."""


@dataclass
class Counts:
    """What was sent, and how many runs the tracker has now."""

    evaluations: int = 0
    artifacts: int = 0
    runs: int = 0


class Mirror:
    """Mirrors a run, or a sweep and its jobs, to one tracker.

    `only` is the number of the one job that is mirrored of a sweep; `beat` is called after each
    step, to show that the tracker answers.
    """

    def __init__(
        self,
        folder: Path,
        tracker: str,
        *,
        only: int | None = None,
        weights: bool = False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.only, self.weights, self.beat = folder, only, weights, beat
        self._make: type[Tracker] = find(tracker)
        self.root = root_of(folder)
        self.target = self._make(self.root).target()
        self._is_sweep = (folder / PLAN).is_file() or (folder / "search.yaml").is_file()
        self._contents: Contents = SweepContents(folder) if self._is_sweep else RunContents(folder)
        self._state = State(folder, tracker, self.target)
        self._state.id = self._state.id or _identify(folder)
        self._open: dict[str, _Opened] = {}
        self._settled: set[int] = set()  # jobs that have been sent
        self.counts = Counts()

    def sync(self, ended: bool) -> None:
        """Send what is new; with `ended` nothing more will follow, and runs are closed. Raises what
        the tracker raises.
        """
        if isinstance(self._contents, SweepContents):
            self._sync_sweep(self._contents, ended)
        elif (self.folder / "config.yaml").is_file():
            self._sync_run(self._contents, ended)

    def has_job(self, number: int) -> bool:
        """Whether this is a sweep with a job of this number that has ended."""
        sweep = self._contents
        return isinstance(sweep, SweepContents) and number in sweep.ended_jobs()

    def _sync_sweep(self, sweep: SweepContents, ended: bool) -> None:
        parent = self._tracked(sweep)
        jobs = sweep.ended_jobs(without=frozenset() if ended else self._settled)
        if self.only is not None:
            jobs = {number: job for number, job in jobs.items() if number == self.only}
        waiting = [n for n, job in jobs.items() if not self._is_complete(_key(n), job)]
        if waiting or not ended or not self._is_complete("", sweep):
            self._sync_run(sweep, ended)
        for number in waiting:
            self._sync_run(jobs[number], True, number, parent)
        self._settled |= set(jobs)
        self.counts.runs = 1 + len(self._settled)

    def _is_complete(self, key: str, contents: Contents) -> bool:
        """Whether the tracker has a run that has ended as it is now, but for new artifacts."""
        sent = self._state.of(key)
        return bool(sent.summary) and sent.summary == _digest_of_end(contents, self.weights)

    def _tracked(
        self, contents: Contents, number: int | None = None, parent: TrackedRun | None = None
    ) -> TrackedRun:
        key = _key(number)
        sent = self._state.of(key)
        attempt = f"-{sent.attempt}" if sent.attempt else ""
        identity = f"{self._state.id}{'/' if key else ''}{key}{attempt}"
        if key or attempt:
            identity = digest(identity.encode())
        folder = Path(os.path.abspath(contents.folder))
        name = self.folder.absolute().name
        return TrackedRun(
            id=identity,
            kind=contents.kind if parent is None else "job",
            name=f"{name}/{number}" if parent is not None else name,
            experiment=_experiment(contents, parent),
            folder=folder,
            tags=_tags(contents, folder, number),
            parent=parent,
            saved=sent.saved,
        )

    def _sync_run(
        self,
        contents: Contents,
        ended: bool,
        number: int | None = None,
        parent: TrackedRun | None = None,
    ) -> None:
        key = _key(number)
        opened = self._open.get(key)
        if opened is None:
            self.counts.runs = max(self.counts.runs, 1)
            if ended and self._is_complete(key, contents):
                return
            opened = self._open[key] = _Opened(self._make(self.root), self._state.of(key))
            self._start(opened, contents, number, parent)
        self._send_evaluations(opened, contents, ended)
        if not ended:
            return
        self._send_artifacts(opened, contents)
        status = str(contents.summary.get("status") or "interrupted")
        end = _digest_of_end(contents, self.weights)
        opened.tracker.close(status if status in FINAL else "interrupted", contents.numbers())
        self.beat()
        if contents.summary.get("status") in FINAL:
            opened.sent.summary = end
        del self._open[key]
        self._state.write()

    def _start(
        self, opened: _Opened, contents: Contents, number: int | None, parent: TrackedRun | None
    ) -> None:
        sent = opened.sent
        rows = evaluations(contents)
        changed = sent.rows and _digest_of(rows[: sent.rows]).hexdigest()[:16] != sent.digest
        if changed and (len(rows) >= sent.rows or contents.summary.get("status") in FINAL):
            # a run that was resumed on another machine has other numbers since its checkpoint
            sent.attempt, sent.rows, sent.digest = sent.attempt + 1, 0, ""
            sent.artifacts.clear()
            sent.saved.clear()
        if not opened.tracker.continues():
            sent.rows, sent.digest = 0, ""
            sent.artifacts.clear()
        sent.summary = ""
        self._state.write()
        opened.tracker.open(self._tracked(contents, number, parent))
        self.beat()
        opened.tracker.params(contents.params)
        self.beat()
        opened.exact = _digest_of(rows[: sent.rows])
        self._state.write()

    def _send_evaluations(self, opened: _Opened, contents: Contents, ended: bool) -> None:
        stamp, sent = contents.stamp, opened.sent
        if stamp == opened.stamp and not ended:
            return
        rows = evaluations(contents)
        for start in range(sent.rows, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            opened.tracker.metrics(chunk)
            self.beat()
            sent.rows = start + len(chunk)
            opened.exact.update(_exact(chunk))
            sent.digest = opened.exact.hexdigest()[:16]
            self.counts.evaluations += len(chunk)
            self._state.write()
        opened.stamp = stamp

    def _send_artifacts(self, opened: _Opened, contents: Contents) -> None:
        for name, path in contents.artifacts(self.weights):
            with contextlib.suppress(FileNotFoundError):  # replaced meanwhile
                content = digest(path.read_bytes())
                if opened.sent.artifacts.get(name) == content:
                    continue
                opened.tracker.artifact(name, path)
                self.beat()
                opened.sent.artifacts[name] = content
                self.counts.artifacts += 1

    def forget(self) -> None:
        """Forget the open runs after an error; the next `sync` opens them again."""
        self._open.clear()


@dataclass
class _Opened:
    """A run that is open in the tracker."""

    tracker: Tracker
    sent: Sent
    exact: hashlib._Hash = field(default_factory=hashlib.sha256)
    stamp: object = ()


def _key(number: int | None) -> str:
    """The key of a job in the state, or that of the run or sweep itself."""
    return "" if number is None else str(number)


def root_of(folder: Path) -> Path:
    """Return the folder of the outputs that a run or sweep is in, by default outputs/."""
    for parent in folder.absolute().parents:
        if parent.name in ("runs", "sweeps"):
            return parent.parent
    return DEFAULT_ROOT


def _exact(rows: Sequence[Evaluation]) -> bytes:
    return "".join(repr((row.epoch, row.step, [*row.values.items()])) for row in rows).encode()


def _digest_of(rows: Sequence[Evaluation]) -> hashlib._Hash:
    """A digest of the numbers of evaluations, which more can be added to."""
    return hashlib.sha256(_exact(rows))


def _digest_of_end(contents: Contents, weights: bool) -> str:
    """A digest of the summary of a run that has ended and of its artifacts, by their sizes and
    times; empty for one that has not.
    """
    summary = contents.summary
    if summary.get("status") not in FINAL:
        return ""
    files = contents.stamps(weights)
    return digest(json.dumps([summary, files], sort_keys=True, default=str).encode())


def _identify(folder: Path) -> str:
    """An id for a run or sweep that was never mirrored: the same again if that cannot be stored."""
    started = RunContents(folder).origin.get("started")
    plan = folder / PLAN
    head = plan.read_bytes()[:4096] if plan.is_file() and not plan.is_symlink() else b""
    return digest(json.dumps([str(folder.resolve()), str(started), digest(head)]).encode())


def _experiment(contents: Contents, parent: TrackedRun | None) -> str:
    name = (
        contents.summary.get("name") or contents.params.get("name") or contents.folder.parent.name
    )
    return parent.experiment if parent is not None else str(name)


def _tags(contents: Contents, folder: Path, number: int | None) -> dict[str, str]:
    """The tags of a run: its folder, name, seed, the version and the commit."""
    values = contents.summary
    origin, params = contents.origin, contents.params
    git, versions = origin.get("git"), origin.get("versions")
    command = origin.get("command")
    tags: dict[str, object] = {
        "mlplab.folder": folder,
        "mlplab.name": values.get("name") or params.get("name"),
        "mlplab.seed": values.get("seed", params.get("seed")),
        "mlplab.job": number,
        "mlplab.version": versions.get("mlplab") if isinstance(versions, dict) else None,
        "mlplab.git.commit": git.get("commit") if isinstance(git, dict) else None,
        "mlplab.git.dirty": git.get("dirty") if isinstance(git, dict) else None,
        "mlplab.command": " ".join(map(str, command)) if isinstance(command, list) else None,
    }
    return {key: str(value) for key, value in tags.items() if value is not None}
