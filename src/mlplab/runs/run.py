"""A finished run in Python: its metrics, its history, its network, and predictions for new data.

Shapes: N examples, F features, C classes, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mlplab.data.tabular.collecting import plain
from mlplab.finite import check_finite_outputs
from mlplab.io.files import load_weights
from mlplab.io.reading import read_json, reading
from mlplab.losses import Loss, resolve_auto_loss
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import build_structure, layers_with_output
from mlplab.network import as_module
from mlplab.settings import Settings
from mlplab.tracking import read_metrics
from mlplab.training.history import History

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Run:
    """One finished run."""

    folder: Path
    settings: Settings
    summary: Mapping[str, Any]
    history: History
    preprocessing: Preprocessing
    network: nn.Sequential = field(repr=False)

    @property
    def status(self) -> str:
        """The status of the run: done, diverged, interrupted or failed."""
        return str(self.summary["status"])

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the best weights: {"test/accuracy": 0.98, ...}."""
        return {
            name: float("nan") if value is None else value
            for name, value in self.summary["metrics"].items()
        }

    def module(self) -> nn.Sequential:
        """Return the network as plain PyTorch: scaled features in, logits or scaled values out."""
        return self.network

    @property
    def _loss(self) -> Loss:
        return resolve_auto_loss(self.settings.loss, self.preprocessing.task)

    @torch.no_grad()
    def _outputs(self, x_NF: ArrayLike) -> Tensor:
        features = self._features(x_NF)
        num_features = len(self.preprocessing.feature_names)
        if features.ndim != 2 or features.shape[1] != num_features:
            raise ValueError(
                f"x has shape {features.shape}; this network takes rows of {num_features} features:"
                f" {', '.join(self.preprocessing.feature_names)}"
            )
        if not np.isfinite(features).all():
            row, column = np.argwhere(~np.isfinite(features))[0]
            raise ValueError(
                f"x has a value that is not finite, first in row {row}, feature"
                f" {self.preprocessing.feature_names[column]}"
            )
        return self._predict_scaled(self.preprocessing.feature_scaler.apply(features))

    def _predict_scaled(self, scaled_NF: np.ndarray) -> Tensor:
        dtype = next(self.network.parameters()).dtype
        return self._loss.predict(self.network(torch.from_numpy(scaled_NF).to(dtype)).unsqueeze(0))[
            0
        ].double()

    @torch.no_grad()
    def scores(self, scaled_NF: np.ndarray) -> np.ndarray:
        """Predict from scaled features [N, F]: class probabilities [N, C], or values [N, T] in the
        units of the target.
        """
        outputs = self._predict_scaled(scaled_NF).numpy()
        return np.asarray(self.preprocessing.in_target_units(outputs))

    def _features(self, x: ArrayLike) -> np.ndarray:
        """Features [N, F] from an array or a tensor, or, if the run was trained on columns, from a
        data frame with these columns.
        """
        x = plain(x)
        encoder = self.preprocessing.encoder
        if encoder is None or not hasattr(x, "columns"):
            return np.asarray(x, dtype=np.float64)
        return encoder.apply(x)

    def predict_proba(self, x_NF: ArrayLike) -> np.ndarray:
        """Return class probabilities for raw features: float64 [N, C], columns in the order of
        `preprocessing.class_names`.

        Rows for which the network's output is not finite are NaN. Raises ValueError if the run
        predicts values, or if x has the wrong shape or values that are not finite.
        """
        if not self.preprocessing.task.classifies:
            raise ValueError("this run predicts values, not classes: use predict")
        return np.asarray(self._outputs(x_NF).numpy())

    def predict(self, x_NF: ArrayLike) -> np.ndarray:
        """Predict from raw features: the most probable class [N] (0 ... C - 1), or values [N, T] in
        the units of the target.

        Raises NotFiniteError, with the row, if an output of the network is not finite, and
        ValueError if x has the wrong shape or values that are not finite.
        """
        outputs = self._outputs(x_NF)
        check_finite_outputs(outputs.numpy(), "x", first=0)
        if self.preprocessing.task.classifies:
            return np.asarray(outputs.argmax(-1).numpy())
        values = np.asarray(self.preprocessing.in_target_units(outputs.numpy()))
        check_finite_outputs(values, "x", first=0)
        return values


def load(folder: str | Path) -> Run:
    """Load a run from its folder.

    Nothing in the folder is executed: the configuration is checked like overrides on the command
    line, and weights are plain tensors. Raises ConfigError for a folder without a run, and
    DamagedFileError for a file that cannot be read.
    """
    from mlplab.config import settings_of_folder

    run_folder = Path(folder)
    settings = settings_of_folder(run_folder)
    summary = read_summary(run_folder)
    with reading(run_folder / "weights.safetensors"):
        tensors, metadata = load_weights(run_folder / "weights.safetensors")
        preprocessing = Preprocessing.from_json(metadata["preprocessing"])
        module = _module(settings, preprocessing)
        module.load_state_dict(tensors)
    with reading(run_folder / "metrics.csv"):
        history = _history(run_folder)
    return Run(run_folder, settings, summary, history, preprocessing, module)


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of summary.json. Raises DamagedFileError."""
    path = folder / "summary.json"
    summary = read_json(path)
    with reading(path):
        if not isinstance(summary["status"], str) or not isinstance(summary["metrics"], dict):
            raise TypeError("`status` is not a string, or `metrics` has no keys and values")
    return summary


def _module(settings: Settings, preprocessing: Preprocessing) -> nn.Sequential:
    """The network with zeros for weights."""
    loss = resolve_auto_loss(settings.loss, preprocessing.task)
    network = build_structure(settings, preprocessing, loss)
    theta_P = torch.zeros(network.layout.num_parameters, dtype=getattr(torch, settings.dtype))
    buffers = {
        name: value[0] for name, value in network.buffers(1, theta_P.dtype, theta_P.device).items()
    }
    return as_module(
        network.layout, layers_with_output(settings, preprocessing, loss), theta_P, buffers
    )


def _history(folder: Path) -> History:
    if not (folder / "metrics.csv").exists():
        return History.empty()
    columns = read_metrics(folder / "metrics.csv")
    names = tuple(name for name in columns if name not in ("epoch", "step"))
    epoch, step = (np.array(columns[key], dtype=float).astype(int) for key in ("epoch", "step"))
    values = np.array([columns[name] for name in names], dtype=float).T.reshape(
        len(epoch), len(names)
    )
    return History(names, epoch, step, np.full(len(epoch), np.nan), values)
