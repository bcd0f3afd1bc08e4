"""The features of a network in groups, each of which an embedding takes together.

A number may be encoded piecewise linearly, by bins with equal numbers of train rows. What depends
on the data is fitted here, on the train split; what is learned is in the network.

Shapes: N rows, F features, G inputs of the network, T bins of a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

VERSION = 1
NUMBER, CATEGORY, OTHER = "number", "category", "other"
MIN_GAP = 1e-9
"""Between two edges, as a fraction of the range of the train rows: the values of a narrower bin
would not be finite numbers far outside of it.
"""


@dataclass(frozen=True)
class FeatureGroup:
    """Consecutive features that are embedded together, or stay as they are.

    Attributes:
        kind: number (one quantity), category (features of 0 and 1, of which the network learns a
            vector for each category) or other (features that stay as they are).
        size: how many features they are.
        outputs: the length of the learned vector of a category.
        edges: the edges of the bins of a number in scaled units [T + 1]; empty if it has no bins.
        spare: the number of inputs that are always 0, so that the folds of a cross-validation,
            whose bins may coincide, have equal shapes.
    """

    kind: str
    size: int = 1
    outputs: int = 0
    edges: tuple[float, ...] = ()
    spare: int = 0

    @property
    def num_inputs(self) -> int:
        """How many inputs of the network the group has."""
        return len(self.edges) - 1 + self.spare if self.edges else self.size

    def to_dict(self) -> dict[str, object]:
        """Return plain values for a JSON file, without loss of precision."""
        return {
            "kind": self.kind,
            "size": self.size,
            "outputs": self.outputs,
            "edges": list(self.edges),
            "spare": self.spare,
        }


def quantile_edges(x_N: Floats, bins: int) -> tuple[float, ...]:
    """Return the edges of at most this many bins with equal numbers of rows, at least two edges.

    Edges that coincide are one; a constant number has the bin from it to one above.
    """
    edges = np.unique(np.quantile(x_N, np.linspace(0, 1, bins + 1)))
    if len(edges) < 2:
        return (float(edges[0]), float(edges[0]) + 1.0)
    least = MIN_GAP * (edges[-1] - edges[0])
    kept = [float(edges[0])]
    for edge in edges[1:].tolist():
        if edge - kept[-1] >= least:
            kept.append(edge)
    return tuple(kept)


@dataclass(frozen=True, eq=False)
class InputMaps:
    """The inputs of the network, each a function of one scaled feature:

        limit((x - shift) / scale, low, high)

    `features_G` are the indices of the features; the rest is float64 [G].
    """

    features_G: NDArray[np.int64]
    shift_G: Floats
    scale_G: Floats
    low_G: Floats
    high_G: Floats


def _map(group: FeatureGroup) -> Floats:
    """Shift, scale, low and high of the inputs of a group, [4, G].

    The piecewise-linear encoding of a number is

        e_t(x) = (x - b_{t-1}) / (b_t - b_{t-1}), limited to [0, 1]

    for t = 1..T and the edges b_0 < ... < b_T. The first bin has no lower limit, and the last one
    no upper limit. Source: Gorishniy, Rubachev, Babenko 2022.
    """
    if not group.edges:
        return np.repeat([[0.0], [1.0], [-np.inf], [np.inf]], group.size, axis=1)
    edges = np.array(group.edges)
    map_4T = np.stack(
        [edges[:-1], np.diff(edges), np.zeros(len(edges) - 1), np.ones(len(edges) - 1)]
    )
    map_4T[2, 0], map_4T[3, -1] = -np.inf, np.inf
    always_zero = np.repeat([[0.0], [1.0], [0.0], [0.0]], group.spare, axis=1)
    return np.concatenate([map_4T, always_zero], 1)


@dataclass(frozen=True)
class FeatureGroups:
    """The groups of all features, in order."""

    groups: tuple[FeatureGroup, ...]

    def __iter__(self) -> Iterator[FeatureGroup]:
        return iter(self.groups)

    @property
    def num_features(self) -> int:
        return sum(group.size for group in self.groups)

    @property
    def num_inputs(self) -> int:
        return sum(group.num_inputs for group in self.groups)

    @property
    def has_bins(self) -> bool:
        """Whether the inputs of the network are not the features themselves."""
        return any(group.edges for group in self.groups)

    @property
    def sizes(self) -> FeatureGroups:
        """Groups of the same inputs without what is measured on the data."""
        return FeatureGroups(
            tuple(FeatureGroup(group.kind, group.num_inputs, group.outputs) for group in self)
        )

    def inputs(self, scaled_NF: Floats) -> Floats:
        """Return the inputs of the network, float64 [N, G], for scaled features [N, F]."""
        if not self.has_bins:
            return scaled_NF
        maps = self.maps
        inputs_NG = scaled_NF[:, maps.features_G]
        inputs_NG -= maps.shift_G
        inputs_NG /= maps.scale_G
        return np.clip(inputs_NG, maps.low_G, maps.high_G, out=inputs_NG)

    @cached_property
    def maps(self) -> InputMaps:
        """The map from the scaled features to the inputs of the network."""
        features, columns = [], []
        feature = 0
        for group in self.groups:
            of_group = range(feature, feature + group.size)
            features += [feature] * group.num_inputs if group.edges else [*of_group]
            columns.append(_map(group))
            feature += group.size
        return InputMaps(np.array(features), *np.concatenate(columns, 1))

    def input_names(self, feature_names: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the inputs of the network, [G]: age[1] for the first bin of age."""
        names: list[str] = []
        feature = 0
        for group in self.groups:
            own = feature_names[feature : feature + group.size]
            feature += group.size
            if group.edges:
                names += [f"{own[0]}[{t + 1}]" for t in range(group.num_inputs)]
            else:
                names += own
        return tuple(names)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for a JSON file, without loss of precision."""
        return {"version": VERSION, "groups": [group.to_dict() for group in self.groups]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], num_features: int) -> FeatureGroups:
        """Return the groups that `to_dict` described. Raises ValueError if they contradict
        themselves, or the number of features.
        """
        if stored["version"] != VERSION:
            raise ValueError(
                f"its feature groups have version {stored['version']!r}, and this version of mlplab"
                f" reads {VERSION}"
            )
        groups = tuple(
            FeatureGroup(
                str(group["kind"]),
                int(group["size"]),
                int(group["outputs"]),
                tuple(map(float, group["edges"])),
                int(group["spare"]),
            )
            for group in stored["groups"]
        )
        parsed = cls(groups)
        if parsed.num_features != num_features or not all(map(_is_consistent, groups)):
            raise ValueError(f"its feature groups do not describe {num_features} feature(s)")
        return parsed


def _is_consistent(group: FeatureGroup) -> bool:
    edges = np.array(group.edges)
    is_ascending = len(edges) != 1 and np.isfinite(edges).all() and (np.diff(edges) > 0).all()
    return bool(
        group.kind in (NUMBER, CATEGORY, OTHER)
        and group.size >= 1
        and group.spare >= 0
        and (group.outputs >= 1) == (group.kind == CATEGORY)
        and is_ascending
        and (not group.edges or (group.kind == NUMBER and group.size == 1))
    )


@dataclass(frozen=True)
class Grouping:
    """What the network does with the features: whether it embeds numbers, and the most bins of
    each, 0 if it takes the numbers themselves.
    """

    numbers: bool = False
    bins: int = 0


def merged(groups: Sequence[FeatureGroup]) -> FeatureGroups:
    """Return the groups with neighbors that stay as they are joined into one."""
    joined: list[FeatureGroup] = []
    for group in groups:
        if joined and group.kind == joined[-1].kind == OTHER:
            joined[-1] = replace(group, size=joined[-1].size + group.size)
        else:
            joined.append(group)
    return FeatureGroups(tuple(joined))


def fit_groups(
    groups: FeatureGroups, folds: Sequence[Floats], grouping: Grouping
) -> list[FeatureGroups]:
    """Return the groups of each fold, fitted on its scaled train rows [N, F], with equal shapes.

    Numbers with at most two values in the train rows of every fold stay as they are, and so do all
    numbers unless `grouping` embeds them.
    """
    fitted: list[list[FeatureGroup]] = [[] for _ in folds]
    feature = 0
    for group in groups:
        columns = [train_NF[:, feature] for train_NF in folds]
        feature += group.size
        if group.kind != NUMBER:
            of_folds = [group] * len(folds)
        elif not grouping.numbers or not any(map(_has_three_values, columns)):
            of_folds = [replace(group, kind=OTHER)] * len(folds)
        elif grouping.bins:
            edges = [quantile_edges(column, grouping.bins) for column in columns]
            most = max(map(len, edges))
            of_folds = [replace(group, edges=e, spare=most - len(e)) for e in edges]
        else:
            of_folds = [group] * len(folds)
        for of_fold, chosen in zip(fitted, of_folds, strict=True):
            of_fold.append(chosen)
    return [merged(of_fold) for of_fold in fitted]


def _has_three_values(x_N: Floats) -> bool:
    low, high = x_N.min(), x_N.max()
    return bool(((x_N != low) & (x_N != high)).any())
