"""Train settings that share a population, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from mlplab.settings import Settings
from mlplab.training.outcome import Outcome
from mlplab.training.prepare import build_population, prepare_members
from mlplab.training.session import Callback, Session


def train_population(
    settings: Sequence[Settings], callbacks: Sequence[Callback] = ()
) -> list[Outcome]:
    """Train settings as one population and return one outcome each, in order.

    Raises ValueError if they cannot share a population; see `structure_key`.
    """
    session = Session([build_population(prepare_members(settings))[0]], callbacks)
    session.run()
    return session.outcomes()
