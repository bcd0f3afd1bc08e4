"""A run as a person holds it in Python: its numbers, its history, its network, and predictions for
new data.

Shapes: N examples, F features, C classes, T targets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlplab.finite import check_finite_outputs
from mlplab.io.files import load_weights
from mlplab.losses import Loss, resolve_auto_loss
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import build_structure, layers_with_output
from mlplab.network import as_module
from mlplab.settings import Settings
from mlplab.tracking import read_metrics
from mlplab.training.history import History


@dataclass(frozen=True)
class Run:
    """One finished run. `metrics` are those of the chosen (best) weights: {"test/accuracy": 0.98,
    ...}.
    """

    folder: Path
    settings: Settings
    summary: Mapping[str, Any]
    history: History
    preprocessing: Preprocessing
    network: nn.Sequential = field(repr=False)

    @property
    def status(self) -> str:
        """done, diverged, interrupted or failed."""
        return str(self.summary["status"])

    @property
    def metrics(self) -> dict[str, float]:
        return {
            name: float("nan") if value is None else value
            for name, value in self.summary["metrics"].items()
        }

    def module(self) -> nn.Sequential:
        """The network as plain PyTorch: scaled features in, logits or scaled values out."""
        return self.network

    @property
    def _loss(self) -> Loss:
        return resolve_auto_loss(self.settings.loss, self.preprocessing.task)

    @torch.no_grad()
    def _outputs(self, x_NF: Any) -> Tensor:
        raw = self._features(x_NF)
        wanted = len(self.preprocessing.feature_names)
        if raw.ndim != 2 or raw.shape[1] != wanted:
            raise ValueError(
                f"x has shape {raw.shape}; this network takes rows of {wanted} features:"
                f" {', '.join(self.preprocessing.feature_names)}"
            )
        if not np.isfinite(raw).all():
            row, column = np.argwhere(~np.isfinite(raw))[0]
            raise ValueError(
                f"x has a value that is not finite, first in row {row}, feature"
                f" {self.preprocessing.feature_names[column]}"
            )
        return self._predicted(self.preprocessing.feature_scaler.apply(raw))

    def _predicted(self, scaled_NF: np.ndarray) -> Tensor:
        dtype = next(self.network.parameters()).dtype
        return self._loss.predict(self.network(torch.from_numpy(scaled_NF).to(dtype)).unsqueeze(0))[
            0
        ].double()

    @torch.no_grad()
    def scores(self, scaled_NF: np.ndarray) -> np.ndarray:
        """For features as the network takes them: class probabilities [N, C], or values [N, T] in
        the target's own units.
        """
        outputs = self._predicted(scaled_NF).numpy()
        scaler = self.preprocessing.target_scaler
        return np.asarray(
            outputs
            if self.preprocessing.task.classifies or scaler is None
            else scaler.invert(outputs)
        )

    def _features(self, x: Any) -> np.ndarray:
        """Features [N, F] from an array of them, or, for a network of a file, from a data frame
        with the file's columns.
        """
        encoder = self.preprocessing.encoder
        if encoder is None or not hasattr(x, "columns"):
            return np.asarray(x, dtype=np.float64)
        return encoder.apply(x)

    def predict_proba(self, x_NF: Any) -> np.ndarray:
        """Class probabilities for raw features: float64 [N, C], columns in the order of
        `preprocessing.class_names`. A row of which the network's output is not finite has NaN.
        """
        if not self.preprocessing.task.classifies:
            raise ValueError("this run predicts values, not classes: use predict")
        return np.asarray(self._outputs(x_NF).numpy())

    def predict(self, x_NF: Any) -> np.ndarray:
        """For raw features: the most probable class [N] (0 ... C - 1), or the values [N, T] in the
        target's own units. Raises NotFiniteError, with the row, where the network's output is not
        finite.
        """
        outputs = self._outputs(x_NF)
        check_finite_outputs(outputs.numpy(), "x", first=0)
        if self.preprocessing.task.classifies:
            return np.asarray(outputs.argmax(-1).numpy())
        scaler = self.preprocessing.target_scaler
        values = np.asarray(scaler.invert(outputs.numpy()) if scaler else outputs.numpy())
        check_finite_outputs(values, "x", first=0)
        return values


def load(folder: str | Path) -> Run:
    """A run from its folder. Nothing in the folder is executed: the configuration is checked as if
    typed, weights are plain tensors.
    """
    from mlplab.config import settings_of_folder

    place = Path(folder)
    settings = settings_of_folder(place)
    summary = json.loads((place / "summary.json").read_text())
    tensors, metadata = load_weights(place / "weights.safetensors")
    preprocessing = Preprocessing.from_json(metadata["preprocessing"])
    loss = resolve_auto_loss(settings.loss, preprocessing.task)
    network = build_structure(settings, preprocessing, loss)
    theta_P = torch.zeros(network.layout.num_parameters, dtype=getattr(torch, settings.dtype))
    buffers = {
        name: value[0] for name, value in network.buffers(1, theta_P.dtype, theta_P.device).items()
    }
    module = as_module(
        network.layout, layers_with_output(settings, preprocessing, loss), theta_P, buffers
    )
    module.load_state_dict(tensors)
    return Run(place, settings, summary, _history(place), preprocessing, module)


def _history(place: Path) -> History:
    if not (place / "metrics.csv").exists():
        return History((), np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros((0, 0)))
    columns = read_metrics(place / "metrics.csv")
    names = tuple(name for name in columns if name not in ("epoch", "step"))
    epoch, step = (np.array(columns[key], dtype=float).astype(int) for key in ("epoch", "step"))
    values = np.array([columns[name] for name in names], dtype=float).T.reshape(
        len(epoch), len(names)
    )
    return History(names, epoch, step, np.full(len(epoch), np.nan), values)
