"""The feature groups of prepared data, fitted on the train split of each fold.

Shapes: N rows, F features, G inputs of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlplab.data.feature_groups import (
    CATEGORY,
    NUMBER,
    FeatureGroup,
    FeatureGroups,
    Grouping,
    fit_groups,
)
from mlplab.data.input_features import COLUMN
from mlplab.data.preparation.examples import Examples, Prepared
from mlplab.data.scaling import Scaler
from mlplab.data.table import SPLITS


def with_groups(folds: Sequence[Prepared], grouping: Grouping) -> list[Prepared]:
    """Return the prepared data of each fold with its feature groups and the inputs that they make;
    unchanged if the network embeds nothing.
    """
    groups = _groups(folds[0])
    if not grouping.numbers and all(group.kind != CATEGORY for group in groups):
        return list(folds)
    fitted = fit_groups(groups, [fold.train.real().x for fold in folds], grouping)
    return [grouped(fold, of_fold) for fold, of_fold in zip(folds, fitted, strict=True)]


def _groups(prepared: Prepared) -> FeatureGroups:
    """The groups by the kinds of the columns; the numbers of arrays are not told from zeros and
    ones.
    """
    if prepared.encoder is None:
        return FeatureGroups((FeatureGroup(NUMBER),) * len(prepared.feature_names))
    encoded = [group for column in prepared.encoder.columns for group in column.groups]
    if prepared.input_features is None:
        return FeatureGroups(tuple(encoded))
    starts, start = {}, 0
    for group in encoded:
        starts[start] = group
        start += group.size
    # a column that is a feature itself becomes all of its features, in order
    chosen = [
        starts.get(first) if function == COLUMN else FeatureGroup(NUMBER)
        for function, (first, *_) in prepared.input_features.formulas
    ]
    return FeatureGroups(tuple(group for group in chosen if group is not None))


def grouped(prepared: Prepared, groups: FeatureGroups) -> Prepared:
    """Return prepared data with these groups, and the inputs that they make."""
    if not groups.has_bins:
        return replace(prepared, groups=groups)
    scaler = prepared.feature_scaler
    splits: dict[str, Any] = {
        split: None
        if (examples := getattr(prepared, split)) is None
        else _with_inputs(examples, groups, scaler)
        for split in SPLITS
    }
    return replace(prepared, groups=groups, **splits)


def _with_inputs(examples: Examples, groups: FeatureGroups, scaler: Scaler) -> Examples:
    columns_NR = scaler.invert(examples.x) if examples.columns is None else examples.columns
    return replace(examples, x=groups.inputs(examples.x), columns=columns_NR)
