"""The preprocessing of raw columns before the network, and its JSON form."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlplab.data import Scaler
from mlplab.data.feature_groups import FeatureGroups
from mlplab.data.input_features import InputFeatures
from mlplab.data.preparation.examples import Prepared
from mlplab.data.tabular.cell_errors import first_row
from mlplab.data.tabular.cells import parse_numbers
from mlplab.data.tabular.collecting import plain
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.records import as_records
from mlplab.errors import DataError
from mlplab.io.files import parse_json
from mlplab.task import Task

VERSION_OF_NUMBER_FORMATS, VERSION, VERSION_OF_FEATURES = 4, 3, 2
"""Of the JSON form with numbers that are not written plainly; without them that with bounds of
predictions or a scaling that clips or ranks to a normal distribution; without these that with
computed features; without any it has none, and readers take it as 1.
"""


@dataclass(frozen=True)
class Preprocessing:
    """The transformations between raw columns and the network, fitted on the train split."""

    task: Task
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    class_names: tuple[str, ...]
    feature_scaler: Scaler
    target_scaler: Scaler | None
    encoder: Encoder | None = None  # for a dataset read from a file
    input_features: InputFeatures | None = None  # if some are computed from columns
    target_bounds: np.ndarray | None = None
    """The range [2, T] to which predictions are clamped, in the units of the target."""
    groups: FeatureGroups | None = None  # if the network embeds some

    @classmethod
    def of(cls, prepared: Prepared) -> Preprocessing:
        """The preprocessing that prepared these examples."""
        return cls(
            prepared.task,
            prepared.feature_names,
            prepared.target_names,
            prepared.class_names,
            prepared.feature_scaler,
            prepared.target_scaler,
            prepared.encoder,
            prepared.input_features,
            prepared.target_bounds,
            prepared.groups,
        )

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of what an array passed to `features` holds, [R]: the features, or the columns
        that they are computed from.
        """
        return self.input_features.columns if self.input_features else self.feature_names

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs of the network: the features, or what encodes them."""
        names = self.feature_names
        return self.groups.input_names(names) if self.groups is not None else names

    @property
    def problem(self) -> tuple[object, ...]:
        """What is learned: the task, the classes, the targets and the columns of the features."""
        return self.task, self.class_names, self.target_names, list(self.raw_column_names)

    @property
    def raw_column_names(self) -> tuple[str, ...]:
        """The names of the columns of the data: those that are encoded, or `column_names`."""
        encoded = self.encoder.columns if self.encoder else ()
        return tuple(column.name for column in encoded) or self.column_names

    @cached_property
    def labels(self) -> np.ndarray:
        """The classes in the order of their codes, [C]: integers or truth values if all are, else
        strings.
        """
        if self.class_names == ("False", "True"):
            return np.array([False, True])
        integers = all(re.fullmatch(r"0|-?[1-9]\d{0,17}", name) for name in self.class_names)
        return np.array([int(name) if integers else name for name in self.class_names])

    def features(self, x: Any, source: str = "x") -> np.ndarray:
        """Return the inputs of the network, float64 [N, F], for a data frame with the columns of
        the training, for rows that are mappings (see `as_records`), or for an array or a tensor
        [N, R] of `column_names` that are not scaled yet.

        Raises DataError, naming the `source` of x, if x has the wrong shape, lacks a column, or has
        a cell that training would have refused or a number that is not finite. Rows are counted
        from 0 in an array and from 1 in a data frame.
        """
        records = as_records(x, source)
        x = plain(x, source) if records is None else records
        if self.encoder is not None and hasattr(x, "columns"):
            return self._checked(self.encoder.apply(x, source), source, 1 + first_row(x))
        names, first = self.column_names, 0
        if hasattr(x, "columns"):
            missing = [name for name in names if name not in x.columns]
            if missing:
                raise DataError(
                    f"{source} lacks the column(s) {', '.join(missing)}; the run learned from"
                    f" {', '.join(names)}."
                )
            columns = [parse_numbers(x[name], f"{source}, column '{name}'") for name in names]
            x, first = np.stack(columns, 1), 1 + first_row(x)
        columns_NR = np.asarray(x, dtype=np.float64)
        if columns_NR.ndim != 2 or columns_NR.shape[1] != len(names):
            raise DataError(
                f"{source} has shape {columns_NR.shape}; this network takes rows of"
                f" {len(names)} features: {', '.join(names)}"
            )
        if not np.isfinite(columns_NR).all():
            row, column = np.argwhere(~np.isfinite(columns_NR))[0]
            raise DataError(
                f"{source}, column '{names[column]}', row {first + row}:"
                f" {columns_NR[row, column]} is not a finite number;"
                f" {int((~np.isfinite(columns_NR)).sum())} such cell(s)."
            )
        return self._checked(columns_NR, source, first)

    def scaled(self, columns_NR: np.ndarray) -> np.ndarray:
        """Return the inputs of the network for the columns [N, R] of an array; not finite where a
        computed feature is not defined.
        """
        if self.input_features is not None:
            columns_NR = self.input_features.values(columns_NR)
        return self._inputs(columns_NR)

    def _inputs(self, features_NF: np.ndarray) -> np.ndarray:
        """Return the inputs of the network for features that are not scaled."""
        return self.inputs(self.feature_scaler.apply(features_NF))

    def inputs(self, scaled_NF: np.ndarray) -> np.ndarray:
        """Return the inputs of the network for scaled features [N, F]."""
        return scaled_NF if self.groups is None else self.groups.inputs(scaled_NF)

    def _checked(self, columns_NR: np.ndarray, source: str, first: int) -> np.ndarray:
        """Return the scaled features of (encoded) columns [N, R]. Raises DataError as `features`
        does.
        """
        if self.input_features is not None:
            columns_NR = self.input_features.apply(columns_NR, source, first)
        return self._inputs(columns_NR)

    def in_target_units(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values [N, T] in the units of the target; probabilities stay unchanged."""
        if self.task.classifies or self.target_scaler is None:
            return values
        return self.target_scaler.invert(values)

    def predictions(self, values: np.ndarray) -> np.ndarray:
        """Return predicted values [..., N, T] in the units of the target, within the bounds if
        there are any; probabilities stay unchanged.
        """
        predicted = self.in_target_units(values)
        if self.task.classifies or self.target_bounds is None:
            return predicted
        clamped: np.ndarray = np.clip(predicted, *self.target_bounds)
        return clamped

    @property
    def _version(self) -> int:
        """The oldest version of the JSON form that has everything."""
        if self.encoder is not None and self.encoder.has_number_formats:
            return VERSION_OF_NUMBER_FORMATS
        columns = self.encoder.columns if self.encoder else ()
        is_new = self.target_bounds is not None or self.feature_scaler.clip is not None
        if is_new or any(column.normal for column in columns):
            return VERSION
        return VERSION_OF_FEATURES if self.input_features else 1

    def to_json(self) -> str:
        """Return the form that is stored in the metadata of weights.safetensors."""
        return json.dumps(
            {
                "task": {
                    "kind": self.task.kind,
                    "num_classes": self.task.num_classes,
                    "num_targets": self.task.num_targets,
                },
                "feature_names": self.feature_names,
                "target_names": self.target_names,
                "class_names": self.class_names,
                "feature_scaler": self.feature_scaler.to_dict(),
                "target_scaler": self.target_scaler.to_dict() if self.target_scaler else None,
                **({"encoder": self.encoder.to_dict()} if self.encoder else {}),
                **({"version": self._version} if self._version > 1 else {}),
                **(
                    {"input_features": self.input_features.to_dict()} if self.input_features else {}
                ),
                **(
                    {"target_bounds": self.target_bounds.tolist()}
                    if self.target_bounds is not None
                    else {}
                ),
                **({"feature_groups": self.groups.to_dict()} if self.groups else {}),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Parse what `to_json` returned. Raises ValueError if its entries contradict each other."""
        fields = parse_json(text)
        if fields.get("version", 1) not in range(1, VERSION_OF_NUMBER_FORMATS + 1):
            raise ValueError(
                f"its preprocessing has version {fields['version']!r}, and this version of mlplab"
                f" reads 1 to {VERSION_OF_NUMBER_FORMATS}"
            )
        computed, bounds = fields.get("input_features"), fields.get("target_bounds")
        groups = fields.get("feature_groups")
        parsed = cls(
            Task(**fields["task"]),
            tuple(fields["feature_names"]),
            tuple(fields["target_names"]),
            tuple(fields["class_names"]),
            Scaler.from_dict(fields["feature_scaler"]),
            Scaler.from_dict(fields["target_scaler"]) if fields["target_scaler"] else None,
            Encoder.from_dict(fields["encoder"]) if fields.get("encoder") else None,
            InputFeatures.from_dict(computed, fields["feature_names"]) if computed else None,
            None if bounds is None else np.array(bounds, dtype=np.float64),
            FeatureGroups.from_dict(groups, len(fields["feature_names"])) if groups else None,
        )
        parsed._check()
        return parsed

    def _check(self) -> None:
        """Raise ValueError unless the names are strings and as many as the task says.

        The sizes of the network follow from the task, so they must not exceed what is stored.
        """
        task, features = self.task, self.feature_names
        if not all(
            isinstance(name, str) for name in (*features, *self.target_names, *self.class_names)
        ):
            raise ValueError("the names of columns and classes are not all strings")
        expected, names = (
            (task.num_classes, self.class_names)
            if task.classifies
            else (task.num_targets, self.target_names)
        )
        if task.kind not in ("classification", "regression") or expected != len(names):
            raise ValueError(f"its task {task} does not have the classes or targets that it names")
        for scaler, count in (
            (self.feature_scaler, len(features)),
            (self.target_scaler, task.num_targets),
        ):
            if scaler is not None and not scaler.shift.shape == scaler.scale.shape == (count,):
                raise ValueError(f"a scaler does not have the {count} column(s) of the network")
            if scaler is not None and scaler.clip is not None and scaler.clip.shape != (count,):
                raise ValueError(f"a scaler does not clip the {count} column(s) of the network")
        if self.target_bounds is not None and self.target_bounds.shape != (2, task.num_targets):
            raise ValueError(f"the bounds are not those of {task.num_targets} target(s)")
