"""The preprocessing of raw columns before the network, and its JSON form."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from mlplab.data import Scaler
from mlplab.data.preparation.examples import Prepared
from mlplab.data.tabular.encoder import Encoder
from mlplab.task import Task


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
        )

    def in_target_units(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values [N, T] in the units of the target; probabilities stay unchanged."""
        if self.task.classifies or self.target_scaler is None:
            return values
        return self.target_scaler.invert(values)

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
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Parse what `to_json` returned."""
        fields = json.loads(text)
        return cls(
            Task(**fields["task"]),
            tuple(fields["feature_names"]),
            tuple(fields["target_names"]),
            tuple(fields["class_names"]),
            Scaler.from_dict(fields["feature_scaler"]),
            Scaler.from_dict(fields["target_scaler"]) if fields["target_scaler"] else None,
            Encoder.from_dict(fields["encoder"]) if fields.get("encoder") else None,
        )
