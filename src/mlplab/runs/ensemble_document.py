"""ensemble.json: the members of a packed ensemble, and its selections over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mlplab import metrics
from mlplab.config.override_lines import split
from mlplab.io.files import write_json
from mlplab.io.reading import read_json, reading

FILE = "ensemble.json"
VERSION = 2


@dataclass(frozen=True)
class MemberEntry:
    """A member: its sampled overrides, and the score on validation of its best weights, lower is
    better, with their epoch; None if its predictions were not finite. `metrics` are those of its
    best weights by themselves, on val and test.
    """

    member: int
    overrides: tuple[str, ...]
    score: float | None
    epoch: int | None
    weight: float
    retired: bool
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class SelectionEntry:
    """A selection: its score on validation, that of the best member by itself, how many networks
    were in training, and the weights as (member, epoch, weight).
    """

    epoch: int
    score: float
    best_member: float
    in_training: int
    weights: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class EnsembleDocument:
    """The content of ensemble.json. `metric` selects; scores are the metric, negative if higher is
    better.
    """

    metric: str
    members: tuple[MemberEntry, ...]
    selections: tuple[SelectionEntry, ...]

    def write(self, folder: Path) -> None:
        """Write the file into the folder of a run."""
        write_json(folder / FILE, {"version": VERSION, **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> EnsembleDocument | None:
        """Return the content of the file in the folder of a run, or None if the run is no ensemble.
        Raises DamagedFileError.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        content = read_json(path)
        with reading(path):
            if content.get("version") != VERSION:
                raise ValueError(f"the version is {content.get('version')!r}, not {VERSION}")
            members = [
                MemberEntry(**{**one, "overrides": tuple(map(str, one["overrides"]))})
                for one in content["members"]
            ]
            selections = [
                SelectionEntry(
                    int(one["epoch"]),
                    float(one["score"]),
                    float(one["best_member"]),
                    int(one["in_training"]),
                    tuple((int(m), int(e), float(w)) for m, e, w in one["weights"]),
                )
                for one in content["selections"]
            ]
            return cls(str(content["metric"]), tuple(members), tuple(selections))

    @property
    def sign(self) -> int:
        """The factor between scores and the metric."""
        return -1 if metrics.direction(self.metric) == "max" else 1

    @property
    def varying_keys(self) -> list[str]:
        """The keys in which members differ, in the order of their overrides."""
        values: dict[str, set[str]] = {}
        for one in self.members:
            for key, value in map(split, one.overrides):
                values.setdefault(key, set()).add(value)
        return [key for key, distinct in values.items() if len(distinct) > 1]

    @staticmethod
    def described(member: MemberEntry, keys: Sequence[str]) -> str:
        """Return the values of a member, such as "hidden 64-64, lr 0.0031"; one that sampled none
        has the settings of the ensemble.
        """
        values = {key: EnsembleDocument.value_of(member, key) for key in keys}
        shown = [f"{key.rpartition('.')[2]} {value}" for key, value in values.items() if value]
        return ", ".join(shown) or "the settings of the ensemble"

    @staticmethod
    def value_of(member: MemberEntry, key: str) -> str:
        """Return the value of a key of a member, as readers write it."""
        return _short(dict(map(split, member.overrides)).get(key, ""))

    @property
    def measured(self) -> list[MemberEntry]:
        """The members with finite predictions, the best one by its score first."""
        known = [(one.score, one.member, one) for one in self.members if one.score is not None]
        return [one for *_, one in sorted(known, key=lambda entry: entry[:2])]

    def mean_member(self, names: Sequence[str]) -> dict[str, float]:
        """Return the mean over the members of these metrics, those that all of them have."""
        members = self.measured
        return {
            name: float(np.mean([one.metrics[name] for one in members]))
            for name in names
            if members and all(name in one.metrics for one in members)
        }


def _short(value: str) -> str:
    """A value as readers write it: 0.0031 for 0.00309, 128 for 128, 64-64 for [64, 64]."""
    if value.isdecimal():
        return value
    try:
        return f"{float(value):.2g}"
    except ValueError:
        return value.strip("[]").replace(", ", "-").strip('"')
