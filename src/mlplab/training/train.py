"""Train settings that share a population, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from mlplab.settings import Settings
from mlplab.training.outcome import Outcome
from mlplab.training.prepare import prepare_members
from mlplab.training.session import Callback, Session


def train_population(
    settings: Sequence[Settings], callbacks: Sequence[Callback] = ()
) -> list[Outcome]:
    """Train settings as one population and return one outcome each, in order.

    Raises ValueError if they cannot share a population; see `structure_key`.
    """
    session = Session((), callbacks)
    session.add_group(prepare_members(settings))
    session.run()
    return session.outcomes()
