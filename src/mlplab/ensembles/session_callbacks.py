"""What a run folder shows of an ensemble in training: its selections as rows of metrics.csv, and
what callbacks log of its members.
"""

from __future__ import annotations

import numpy as np

from mlplab.ensembles.networks import Packed
from mlplab.ensembles.training import Round
from mlplab.runs.record import Record
from mlplab.training import Callback, Row, Session
from mlplab.training.history import HistoryBuffer


class SelectionRows:
    """The selections as evaluations: the metric of the ensemble on validation."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self.buffer = HistoryBuffer((f"val/{packed.training.metric}",), 1)

    def restore(self) -> None:
        """Add the rows of all selections of a checkpoint."""
        self.buffer.rows += [self._row(one) for one in self.packed.training.history]

    def report(self, session: Session, record: Record) -> dict[str, float]:
        """Write the row of the last selection; return its values by name. Before any member has
        finite predictions there is none.
        """
        history = self.packed.training.history
        if len(history) == len(self.buffer.rows):
            return {}
        row = self._row(history[-1])
        self.buffer.rows.append(row)
        record.on_rows(session, session.groups[0], [row])
        return dict(zip(self.buffer.names, row.values[:, 0].tolist(), strict=True))

    def _row(self, one: Round) -> Row:
        value = self.packed.training.sign * one.score
        return Row(
            one.epoch,
            one.epoch * self.packed.steps_per_epoch,
            one.time,
            np.array([0]),
            np.array([True]),
            np.array([[value]]),
        )


class MemberLogs(Callback):
    """Records what callbacks log of members, under the number of the member."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def write_earlier(self, session: Session) -> None:
        """Write the scalars that a checkpoint has."""
        if self.record.events is None:
            return
        for group in session.groups:
            for index, logged in group.logged.items():
                prefix = f"member_{group.numbers[index]}"
                rows = {f"{prefix}/{name}": values for name, values in logged.scalars.items()}
                self.record.events.rows(rows)

    def on_scalar(self, session: Session, member: int, name: str, step: int, value: float) -> None:
        self.record.on_scalar(session, member, f"member_{member}/{name}", step, value)

    def on_artifact(self, session: Session, member: int, name: str, data: bytes) -> None:
        self.record.on_artifact(session, member, f"member_{member}_{name}", data)
