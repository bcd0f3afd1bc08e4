"""The results of an ensemble: its model, its metrics, and its files.

Shapes: N rows, C classes or targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mlplab import metrics
from mlplab.data.table import SPLITS
from mlplab.ensembles.calibration import calibrated
from mlplab.ensembles.networks import Packed
from mlplab.ensembles.training import Candidate, PackedTraining, Selection
from mlplab.errors import NotFiniteError
from mlplab.io.files import write_json
from mlplab.model.intervals import Predicted, fit_intervals
from mlplab.model.packed import PackedModel, mixture_deviation
from mlplab.runs.ensemble_document import EnsembleDocument, MemberEntry, SelectionEntry
from mlplab.runs.evaluate import Rows
from mlplab.runs.intervals import BOUNDS, quantile_of
from mlplab.runs.intervals import FILES as INTERVALS
from mlplab.runs.packed_weights import Selected, write_ensemble
from mlplab.task import Task
from mlplab.training.history import History
from mlplab.training.outcome import Logged, Outcome
from mlplab.training.time_limit import TIME_LIMIT


@dataclass(frozen=True)
class Result:
    """The model of the best selection, its networks, and its predictions on validation, out of fold
    if there are folds, with their deviations if the loss predicts them.
    """

    model: PackedModel
    selected: list[Selected]
    scores_NC: np.ndarray
    deviations_NT: np.ndarray | None
    temperature: float | None

    @classmethod
    def of(cls, packed: Packed) -> Result:
        """Return the result of a training. Raises NotFiniteError if no member has finite
        predictions.
        """
        training = packed.training
        if training.best is None:
            raise NotFiniteError(
                f"None of the {len(training.overrides)} members of the ensemble has finite"
                " predictions on the validation rows: all of them diverged. Lower learning rates,"
                " such as optimizer.lr=0.001, are stable."
            )
        best, temperature = calibrated(training.best, training.val, packed.settings.training)
        model, selected = _model(training, best)
        weights = [weight for _, weight in best.chosen]
        means = [training.val.predictions(one.models) for one, _ in best.chosen]
        scores_NC = np.asarray(sum(w * mean_NC for w, mean_NC in zip(weights, means, strict=True)))
        deviations = [training.val.deviations(one.models) for one, _ in best.chosen]
        has_deviations = all(one is not None for one in deviations)
        deviations_NT = mixture_deviation(weights, means, deviations) if has_deviations else None
        return cls(model, selected, scores_NC, deviations_NT, temperature)

    @property
    def num_members(self) -> int:
        """The number of members that are selected."""
        return len({one.member for one in self.selected})


def _model(training: PackedTraining, best: Selection) -> tuple[PackedModel, list[Selected]]:
    """The model of a selection, and its networks: of each candidate one for each fold."""
    networks = [
        (one, model, weight / len(one.models), fold)
        for one, weight in best.chosen
        for fold, model in enumerate(one.models)
    ]
    selected = [
        Selected(
            one.member,
            tuple(training.overrides[one.member]),
            weight,
            one.epochs[fold],
            one.score,
            fold if len(one.models) > 1 else None,
        )
        for one, _, weight, fold in networks
    ]
    models = [model for _, model, *_ in networks]
    return PackedModel.of_members(models, [one.weight for one in selected]), selected


def outcome_of(
    packed: Packed, result: Result, history: History, stopped: bool, folder: Path
) -> Outcome:
    """Return how the training ended; its weights are those of the strongest member."""
    training, model = packed.training, result.model
    outcomes = packed.session.outcomes(metrics=False)
    reason = f"{result.num_members} of {len(training.overrides)} members selected"
    limited = [one.reason for one in outcomes if one.reason.startswith(TIME_LIMIT)]
    if stopped:
        reason = f"interrupted in epoch {packed.epoch}; so far {reason}"
    elif limited:
        reason = f"{limited[0]}; {reason}"
    best_epoch = training.best.epoch if training.best else 0
    return Outcome(
        "interrupted" if stopped else "done",
        reason,
        max(one.epochs for one in outcomes),
        max(one.steps for one in outcomes),
        best_epoch,
        best_epoch * packed.steps_per_epoch,
        history,
        _metrics(packed, result, folder),
        model.theta_KP[0],
        {},
        model.theta_KP[0],
        {},
        Logged(),
        result.temperature,
    )


def _metrics(packed: Packed, result: Result, folder: Path) -> dict[str, float]:
    prepared, val = packed.member.prepared, packed.training.val
    measured: dict[str, float] = {}
    for split in SPLITS:
        if split == "val" and prepared.held_out is not None:
            values = _measure(result.scores_NC, val.y, val.task)
        elif getattr(prepared, split) is not None:
            rows = Rows.of_split(prepared, split, folder)
            values = _measure(result.model.scores(rows.x_NF)[0], rows.y, rows.task)
        else:
            continue
        measured |= {f"{split}/{name}": value for name, value in values.items()}
    return measured


def _measure(scores_NC: np.ndarray, y: np.ndarray, task: Task) -> dict[str, float]:
    values = metrics.final_metrics(task.kind, torch.tensor(scores_NC)[None], torch.tensor(y)[None])
    return {name: float(value[0]) for name, value in values.items()}


def write_results(folder: Path, packed: Packed, result: Result) -> int:
    """Write the weights and ensemble.json; return the number of parameters of the model."""
    write_ensemble(folder / "weights.safetensors", result.model, result.selected)
    document(packed, folder).write(folder)
    if packed.member.prepared.held_out is not None and not packed.training.val.task.classifies:
        _write_intervals(folder, packed, result)
    return sum(one.theta_KP.numel() for one in result.model.members)


def _write_intervals(folder: Path, packed: Packed, result: Result) -> None:
    """Calibrate prediction intervals on the predictions out of fold. Those of all networks have
    smaller errors than those of the folds, so that intervals are rather too wide than too narrow.
    """
    prepared, loss = packed.member.prepared, result.model.loss
    intervals = fit_intervals(
        Predicted(prepared.train.x, result.scores_NC, result.deviations_NT),
        packed.training.val.y,
        quantile_of(loss) is not None,
        BOUNDS[loss.target_range],
    )
    write_json(folder / INTERVALS["val"], intervals.to_dict())


def document(packed: Packed, folder: Path) -> EnsembleDocument:
    """The sample, the members by themselves, and the selection over time."""
    training = packed.training
    weights: dict[int, float] = {}
    for chosen, weight in training.best.chosen if training.best else ():
        weights[chosen.member] = weights.get(chosen.member, 0.0) + weight
    prepared, members = packed.member.prepared, []
    test = None if prepared.test is None else Rows.of_split(prepared, "test", folder)
    for number, lines in enumerate(training.overrides):
        one = training.candidates.get(number)
        members.append(
            MemberEntry(
                number,
                tuple(lines),
                one.score if one else None,
                one.epoch if one else None,
                weights.get(number, 0.0),
                number in training.retired,
                _member_metrics(training, one, test) if one else {},
            )
        )
    selections = [
        SelectionEntry(one.epoch, one.score, one.best_member, one.in_training, one.weights)
        for one in training.history
    ]
    return EnsembleDocument(training.metric, tuple(members), tuple(selections))


def _member_metrics(
    training: PackedTraining, one: Candidate, test: Rows | None
) -> dict[str, float]:
    """The metrics of a member by itself, on val and test; those that are finite."""
    measured = {"val": _measure(one.scores_NC, training.val.y, training.val.task)}
    if test is not None:
        scores = [
            model.scores(model.preprocessing.inputs(test.x_NF), allow_nan=True)[0]
            for model in one.models
        ]
        measured["test"] = _measure(np.mean(scores, axis=0), test.y, test.task)
    return {
        f"{split}/{name}": value
        for split, values in measured.items()
        for name, value in values.items()
        if np.isfinite(value)
    }
