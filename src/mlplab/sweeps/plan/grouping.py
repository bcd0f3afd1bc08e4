"""Which jobs can train as one tensor: jobs of equal structure form a group, and a group is cut into
pieces that fit into memory.

Callers ask for groups and pieces of positions and never look at why jobs belong together; what a
population can hold may grow without them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from mlplab.data.preparation.examples import Prepared
from mlplab.schema import rules
from mlplab.settings import Settings
from mlplab.training import DataCache, PreparedMember, prepare_members, structure_key

MAX_ON_CPU = 256
"""More members at once cost no less a member on a CPU, and a piece is what a crash can cost and
what two processes can share.
"""

MAX_ON_CUDA = 4096


@dataclass(frozen=True)
class Group:
    """Jobs of one structure, as positions in the list that was grouped."""

    positions: tuple[int, ...]
    labels: tuple[tuple[str, Hashable], ...]
    alone: str = ""  # why these jobs train one after another; empty for a population


class Representatives:
    """Data of which the shapes are known without making them for every seed: those of the first job
    whose dataset differs in numbers only.
    """

    def __init__(self) -> None:
        self._cache = DataCache()
        self._first: dict[str, Settings] = {}

    def prepare_members(self, settings: Settings) -> PreparedMember | None:
        """The settings with the representative's data; None where making them fails, which is the
        job's own matter once it runs.

        Raises DataError or IncompatibleSettingsError for settings that are wrong.
        """
        dataset = settings.dataset
        fixed = [
            (key, getattr(dataset, key)) for key, rule in rules(dataset).items() if not rule.varies
        ]
        fold_spec = (
            getattr(settings.validation, "folds", None),
            getattr(settings.validation, "repeats", None),
        )
        kind = repr((type(dataset), fixed, settings.loss.own_units, fold_spec))
        try:
            prepared: Prepared = self._cache.prepared(self._first.get(kind, settings))
        except ValueError:
            raise
        except (Exception, SystemExit):
            return None
        self._first.setdefault(kind, settings)
        return prepare_members([settings], _Fixed(prepared))[0]


class _Fixed(DataCache):
    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self._prepared = prepared

    def prepared(self, settings: Settings) -> Prepared:
        return self._prepared


def group(members: Sequence[PreparedMember | None]) -> list[Group]:
    """The groups in the order of their first job; those that train one by one come last, and with
    them those without data (None).
    """
    found: dict[tuple[tuple[str, Hashable], ...], list[int]] = {}
    for position, member in enumerate(members):
        found.setdefault(
            structure_key(member.settings, member.prepared) if member else (), []
        ).append(position)
    groups = [
        Group(tuple(positions), labels, _alone(members[positions[0]]))
        for labels, positions in found.items()
    ]
    return sorted(groups, key=lambda found: bool(found.alone))


def _alone(member: PreparedMember | None) -> str:
    if member is None:
        return "the data could not be made when this was planned"
    return (
        f"optimizer={member.settings.word('optimizer')} trains one network at a time"
        if member.settings.optimizer.single_network
        else ""
    )


def split_evenly(positions: Sequence[int], largest: int) -> list[tuple[int, ...]]:
    """Pieces of nearly equal size, none larger than `largest`, in order."""
    count = -(-len(positions) // max(1, largest))
    edges = [round(i * len(positions) / count) for i in range(count + 1)]
    return [tuple(positions[a:b]) for a, b in itertools.pairwise(edges)]


FEW_WORKERS = 8
"""As many as one machine has, which are equally fast: one piece each costs the fewest updates."""


def split_work(
    positions: Sequence[int], largest: int, workers: int, least: int
) -> list[tuple[int, ...]]:
    """Pieces for so many workers, none larger than `largest` nor, but for the last, smaller than
    `least`.

    Few workers get a piece each. Of many some are slow and some are lost, so half of what is left
    is shared out at a time, in ever smaller pieces: the last to end has little to do. Source:
    Hummel, Schonberg, Flynn 1992 (factoring).
    """
    if workers == 1:
        return split_evenly(positions, largest)
    if workers <= FEW_WORKERS:
        return split_evenly(
            positions, max(min(least, largest), min(largest, -(-len(positions) // workers)))
        )
    found: list[tuple[int, ...]] = []
    at = 0
    while at < len(positions):
        size = max(min(least, largest), min(largest, -(-(len(positions) - at) // (2 * workers))))
        for _ in range(workers):
            if at < len(positions):
                found.append(tuple(positions[at : at + size]))
                at += size
    return found


def describe_differences(
    groups: Sequence[Group], shown: Callable[[str, int], str | None]
) -> list[str]:
    """What sets each group apart from the others, in words: "activation=relu, model.hidden=6-4";
    "all agree" where there is one group.

    `shown(label, position)` says how the user would write the value of a label for a job, or None
    where there is no such way.
    """
    known = [found for found in groups if found.labels]
    varying = (
        [
            label
            for i, (label, _) in enumerate(known[0].labels)
            if len({found.labels[i][1] for found in known}) > 1
        ]
        if known
        else []
    )
    if not varying:
        return ["all agree in structure" for _ in groups]
    return [_apart(found, varying, shown) for found in groups]


def _apart(found: Group, varying: Sequence[str], shown: Callable[[str, int], str | None]) -> str:
    if not found.labels:
        return "unknown structure"
    own = dict(found.labels)
    return ", ".join(
        shown(label, found.positions[0]) or _plain(label, own[label]) for label in varying
    )


def _plain(label: str, value: Hashable) -> str:
    return f"{label} {'x'.join(map(str, value)) if isinstance(value, tuple) else value}"
