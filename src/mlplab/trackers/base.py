"""The interface of a tracker.

    from mlplab.config.plugins import register
    from mlplab.trackers import Tracker

    @register("tracker", "csv_log")
    class CsvLog(Tracker):
        def open(self, run): ...
        def params(self, values): ...
        def metrics(self, evaluations): ...
        def artifact(self, name, path): ...
        def close(self, status, summary): ...

`mlplab train --plugin csv_log.py tracking.mirror=[csv_log]` then mirrors to it while it trains, and
`mlplab mirror DIR --to csv_log --plugin csv_log.py` mirrors a finished run or sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class TrackedRun:
    """What identifies a run, a sweep, or a job of a sweep to a tracker.

    `kind` is run, sweep or job; `parent` is the sweep of a job. A run that is mirrored again has
    the same `id`, 16 hexadecimal digits. What the tracker puts into `saved` is there again when it
    opens the run the next time, perhaps in another process.
    """

    id: str
    kind: str
    name: str
    experiment: str
    folder: Path
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: TrackedRun | None = None
    saved: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run. `values` has the metrics, such as val/loss, as in metrics.csv; they
    may be NaN or infinite. `time` is in seconds since 1970.
    """

    epoch: int
    step: int
    time: float
    values: Mapping[str, float]


class Tracker:
    """Mirrors one run to a tracker. A subclass implements the five methods below.

    They are called in a process that only mirrors, in this order: `open`, `params`, any number of
    `metrics` and `artifact`, `close`. A method that raises, or does not return within a minute,
    affects neither the training nor other trackers; what was not sent is sent again by a new
    object. `root` is the folder of the outputs, in which a local store may be created.
    """

    modules: ClassVar[tuple[str, ...]] = ()
    """Modules that must be installed."""
    extra: ClassVar[str] = ""
    """The extra of mlplab that installs them, if there is one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def target(self) -> str:
        """Return where it writes to, for messages, without connecting. What was sent to one target
        is sent again to another one.
        """
        return type(self).__name__

    def continues(self) -> bool:
        """Return whether `open` continues a run that was mirrored before. If not, all of its
        metrics and artifacts are sent again.
        """
        return True

    def open(self, run: TrackedRun) -> None:
        """Create the run, or open it again by its id or by what was saved."""
        raise NotImplementedError

    def params(self, values: Mapping[str, object]) -> None:
        """Record the configuration: dotted keys, plain values, lists of plain values."""
        raise NotImplementedError

    def metrics(self, evaluations: Sequence[Evaluation]) -> None:
        """Record evaluations, each once, in order; the axis is the epoch."""
        raise NotImplementedError

    def artifact(self, name: str, path: Path) -> None:
        """Record the current content of a file under a name such as pictures/curves.png. Called
        again when the content changes.
        """
        raise NotImplementedError

    def close(self, status: str, summary: Mapping[str, float]) -> None:
        """End the run. `status` is done, diverged, pruned, interrupted or failed; `summary` has the
        final numbers: val_best/loss and others of the best weights, test/loss, best_epoch. A run
        that was interrupted, or is extended, is opened again.
        """
        raise NotImplementedError
