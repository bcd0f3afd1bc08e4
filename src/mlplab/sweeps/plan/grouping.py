"""Groups jobs that can train together: those of the native engine, and those of equal structure of
the eager one, which train as one tensor. A group is split into work units that fit into memory.

Callers ask for groups and splits of positions and never look at why jobs belong together, so a
population can support more kinds of differences without changing them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from mlplab.config.suggestions import shown
from mlplab.data.preparation.examples import Prepared
from mlplab.schema import rules
from mlplab.settings import Settings
from mlplab.training import DataCache, PreparedMember, prepare_members, session_key, structure_key

MAX_ON_CPU = 256
"""Beyond this size the cost per member no longer falls on a CPU. A work unit is also the most that
a crash can cost, and the smallest share of work between processes.
"""

MAX_PACKED_ON_CPU = 1024
"""The same for a sweep whose jobs are packed, of which each work unit leaves a file."""

MAX_ON_CUDA = 4096


@dataclass(frozen=True)
class Group:
    """Jobs that can train together, as positions in the list that was grouped.

    A label says in what they agree; its value is MIXED if they do not. `structures` is the number
    of their structures.
    """

    positions: tuple[int, ...]
    labels: tuple[tuple[str, Hashable], ...]
    structures: int = 1
    single_reason: str = ""  # why these jobs train one by one; empty for a population


class Representatives:
    """Prepared data whose shapes stand in for jobs that differ only in numbers (such as the seed),
    so that grouping does not prepare the data of every job.
    """

    def __init__(self) -> None:
        self._cache = DataCache()
        self._first: dict[str, Settings] = {}

    def prepare_member(self, settings: Settings) -> PreparedMember | None:
        """Return the settings with representative data, or None if preparing the data fails; the
        job itself reports that failure when it runs.

        Raises DataError or IncompatibleSettingsError for invalid settings.
        """
        dataset = settings.dataset
        fixed = [
            (key, getattr(dataset, key)) for key, rule in rules(dataset).items() if not rule.varies
        ]
        fold_spec = (
            getattr(settings.validation, "folds", None),
            getattr(settings.validation, "repeats", None),
        )
        units = settings.loss.original_units
        data_key = repr((type(dataset), fixed, units, fold_spec, settings.grouping))
        try:
            prepared: Prepared = self._cache.prepared(self._first.get(data_key, settings))
        except ValueError:
            raise
        except (Exception, SystemExit):
            return None
        self._first.setdefault(data_key, settings)
        return prepare_members([settings], _FixedData(prepared))[0]


class _FixedData(DataCache):
    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self._prepared = prepared

    def prepared(self, settings: Settings) -> Prepared:
        return self._prepared


MIXED = object()


def group_members(members: Sequence[PreparedMember | None]) -> list[Group]:
    """Group members that can train together, in the order of their first job.

    Groups whose jobs train one by one come last, including members without data (None).
    """
    by_structure: dict[tuple[tuple[str, Hashable], ...], list[int]] = {}
    positions_of: dict[int, list[int]] = {}  # of each member, by its id
    for position, member in enumerate(members):
        positions_of.setdefault(id(member), []).append(position)
    for positions in positions_of.values():
        member = members[positions[0]]
        labels = structure_key(member.settings, member.prepared) if member else ()
        by_structure.setdefault(labels, []).extend(positions)
    together: dict[Hashable, list[tuple[tuple[str, Hashable], ...]]] = {}
    for labels, positions in by_structure.items():
        first = members[positions[0]]
        together.setdefault(session_key(first) if first else labels, []).append(labels)
    groups = [_group(structures, by_structure, members) for structures in together.values()]
    return sorted(groups, key=lambda group: bool(group.single_reason))


def _group(
    structures: Sequence[tuple[tuple[str, Hashable], ...]],
    by_structure: Mapping[tuple[tuple[str, Hashable], ...], Sequence[int]],
    members: Sequence[PreparedMember | None],
) -> Group:
    positions = sorted(itertools.chain.from_iterable(by_structure[one] for one in structures))
    labels = [
        of_label[0] if len(set(of_label)) == 1 else (of_label[0][0], MIXED)
        for of_label in zip(*structures, strict=True)
    ]
    reason = _single_reason(members[positions[0]])
    return Group(tuple(positions), tuple(labels), len(structures), reason)


def _single_reason(member: PreparedMember | None) -> str:
    if member is None:
        return "the data could not be prepared during planning"
    return (
        f"optimizer={member.settings.choice('optimizer')} trains one network at a time"
        if member.settings.optimizer.single_network
        else ""
    )


def split_evenly(positions: Sequence[int], max_size: int) -> list[tuple[int, ...]]:
    """Split the positions, in order, into chunks of nearly equal size of at most `max_size`."""
    count = -(-len(positions) // max(1, max_size))
    edges = [round(i * len(positions) / count) for i in range(count + 1)]
    return [tuple(positions[a:b]) for a, b in itertools.pairwise(edges)]


def split_by_memory(
    chunk: Sequence[int], num_bytes: Mapping[int, int], usable: float
) -> list[tuple[int, ...]]:
    """Split a chunk wherever the bytes of the jobs since the last split would exceed `usable`."""
    chunks: list[list[int]] = [[]]
    total = 0
    for number in chunk:
        if chunks[-1] and total + num_bytes[number] > usable:
            chunks.append([])
            total = 0
        chunks[-1].append(number)
        total += num_bytes[number]
    return [tuple(one) for one in chunks]


MAX_EQUAL_WORKERS = 8
"""Up to this many workers are assumed to be on one machine and equally fast: one work unit for each
then needs the fewest updates.
"""


def split_work(
    positions: Sequence[int], max_size: int, workers: int, min_size: int
) -> list[tuple[int, ...]]:
    """Split positions into chunks for `workers` workers, each at most `max_size` and, except for
    the last one, at least `min_size` long.

    A few workers get one chunk each. Among many workers some are slow and some crash, so half of
    the remaining positions is divided among them at a time, in ever smaller chunks: the worker that
    finishes last then has little left to do. Source: Hummel, Schonberg, Flynn 1992 (factoring).
    """
    if workers <= MAX_EQUAL_WORKERS:
        return split_evenly(
            positions, max(min(min_size, max_size), min(max_size, -(-len(positions) // workers)))
        )
    chunks: list[tuple[int, ...]] = []
    start = 0
    while start < len(positions):
        factored_size = -(-(len(positions) - start) // (2 * workers))
        size = max(min(min_size, max_size), min(max_size, factored_size))
        end = min(start + workers * size, len(positions))
        chunks += [tuple(positions[i : i + size]) for i in range(start, end, size)]
        start = end
    return chunks


def describe_differences(
    groups: Sequence[Group], as_override: Callable[[str, int], str | None]
) -> list[str]:
    """Describe what distinguishes each group from the others, such as
    "activation=relu, model.hidden=6-4".

    Returns "all agree in structure" for every group if none differ; a group of several structures
    is described by their number. `as_override(label, position)`
    returns the override by which a user sets the label's value for a job, or None if there is none.
    """
    labels = zip(*(group.labels for group in groups if group.labels), strict=False)
    varying = [of_groups[0][0] for of_groups in labels if len(set(of_groups)) > 1]
    if len(varying) > 1:  # the engine follows from the other choices
        varying = [label for label in varying if label != "engine"]
    if not varying and len(groups) == 1 and groups[0].structures == 1:
        return ["all agree in structure"]
    return [_describe(group, varying, as_override) for group in groups]


def _describe(
    group: Group, varying: Sequence[str], as_override: Callable[[str, int], str | None]
) -> str:
    if not group.labels:
        return "unknown structure"
    values = dict(group.labels)
    texts = [
        as_override(label, group.positions[0]) or _format_label(label, values[label])
        for label in varying
        if values[label] is not MIXED
    ]
    if group.structures > 1:
        texts.append(f"{group.structures} structures")
    return ", ".join(texts) or "all agree in structure"


def _format_label(label: str, value: Hashable) -> str:
    values = value if isinstance(value, tuple) else (value,)
    texts = [shown(one) if isinstance(one, (bool, type(None))) else str(one) for one in values]
    is_shape = label.startswith("shape of")
    return f"{label} {'x'.join(texts if is_shape else dict.fromkeys(texts))}"
