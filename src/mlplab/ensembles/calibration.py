"""Temperature scaling of an ensemble: one temperature for all of its members.

    p(T) = sum of weight * predict(outputs / T) over the members

The mean of calibrated members is not calibrated, since it is less confident than they are; so the
temperature is fitted on the mean. Dividing the outputs of each member by it is dividing the weights
of its output layer, as for a single network. Source: Rahaman and Thiery, "Uncertainty
quantification and deep ensembles", NeurIPS 2021.

Shapes: N rows, C classes, G temperatures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mlplab.ensembles.training import Selection
from mlplab.ensembles.validation_rows import ValidationRows
from mlplab.model.model import Model
from mlplab.training.calibration import divided_by, hits, scales_temperature, temperature_of
from mlplab.training_options import Training


def calibrated(
    selection: Selection, val: ValidationRows, training: Training
) -> tuple[Selection, float | None]:
    """Return the selection with calibrated members, and their temperature; or the same selection
    and None if the settings do not ask for it.
    """
    if not scales_temperature(training, val.task, has_val=True):
        return selection, None
    outputs = [
        [
            model.outputs(inputs_NG)[0]
            for model, inputs_NG in zip(one.models, val.inputs(one.models), strict=True)
        ]
        for one, _ in selection.chosen
    ]
    y_N = torch.from_numpy(val.y)

    def mean_hits(temperatures_G: Tensor) -> Tensor:
        total_NG = sum(
            weight * val.mean(_hits_of_folds(one.models, of_folds, y_N, val, temperatures_G))
            for (one, weight), of_folds in zip(selection.chosen, outputs, strict=True)
        )
        return torch.as_tensor(total_NG).t()

    temperature = temperature_of(mean_hits, len(y_N))
    chosen = [
        (
            dataclasses.replace(
                one, models=tuple(_divided(model, temperature) for model in one.models)
            ),
            weight,
        )
        for one, weight in selection.chosen
    ]
    return dataclasses.replace(selection, chosen=tuple(chosen)), temperature


def _hits_of_folds(
    models: Sequence[Model],
    outputs: Sequence[Tensor],
    y_N: Tensor,
    val: ValidationRows,
    temperatures_G: Tensor,
) -> list[np.ndarray]:
    """The probability of the right class of the rows of each fold, [N, G]."""
    return [
        hits(model.loss, outputs_NC, y_N[torch.from_numpy(rows)], temperatures_G).t().numpy()
        for model, outputs_NC, rows in zip(models, outputs, val.rows, strict=True)
    ]


def _divided(model: Model, temperature: float) -> Model:
    divisor_K = torch.full((len(model),), temperature, dtype=torch.float64)
    theta_KP = divided_by(model.network.layout, model.theta_KP, divisor_K)
    return dataclasses.replace(model, theta_KP=theta_KP)
