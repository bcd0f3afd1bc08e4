"""What remains of a job of a sweep that has ended: the content of its run folder, but for the
configuration, which the plan of the sweep has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlplab.training import Frames, Outcome


@dataclass(frozen=True)
class JobRecord:
    """A job that has ended. A job that raised has a `trace` and no outcome.

    `summary` is the content of summary.json, whose status, reason, lengths and metrics are those of
    the outcome. `origin` is the provenance without command and hash of the data; `frames` are those
    of the training with the index of the best weights.
    """

    number: int
    ended: float  # seconds since 1970
    summary: Mapping[str, Any]
    origin: Mapping[str, Any]
    log: str = ""
    trace: str = ""
    data_hash: str = ""
    preprocessing: str = ""  # JSON
    outcome: Outcome | None = None
    frames: tuple[Frames, int] | None = None

    @property
    def status(self) -> str:
        return str(self.summary["status"])

    @property
    def num_bytes(self) -> int:
        """The bytes of its weights, history and frames, roughly."""
        if self.outcome is None:
            return 0
        tensors = [
            *(self.outcome.theta_P, self.outcome.last_theta_P),
            *self.outcome.buffers.values(),
            *self.outcome.last_buffers.values(),
            *((self.frames[0].theta_RP,) if self.frames else ()),
        ]
        artifacts = sum(map(len, self.outcome.logged.artifacts.values()))
        num_bytes: int = sum(t.nbytes for t in tensors) + self.outcome.history.values.nbytes
        return num_bytes + artifacts
