"""A packed ensemble from start to end, as one run in one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlplab import metrics
from mlplab.data.preparation.examples import Prepared
from mlplab.data.table import SPLITS
from mlplab.ensembles.sampling import load_ranges
from mlplab.ensembles.training import PackedTraining
from mlplab.errors import IncompatibleSettingsError
from mlplab.io.files import write_json
from mlplab.runs.compute_time import Stopwatch
from mlplab.runs.evaluate import Rows
from mlplab.runs.folder import RunFolder
from mlplab.runs.history_file import write_history
from mlplab.runs.log import log_to
from mlplab.runs.packed_weights import Selected, member_settings, write_ensemble
from mlplab.runs.record import write_config_and_provenance, write_data_report
from mlplab.runs.run import Run
from mlplab.runs.run_training import TrainingProcess, create_run_folder
from mlplab.settings import Settings
from mlplab.terminal.output import announce
from mlplab.training import DataCache, Outcome, PreparedMember, prepare_members
from mlplab.training.history import History

FILE = "ensemble.json"
VERSION = 1


def run_ensemble(
    settings: Settings,
    folder: Path | RunFolder | None,
    quiet: bool,
    cache: DataCache | None,
    on_result: Callable[[Run], None] | None,
) -> Run:
    """Train a packed ensemble and write its run folder; a locked folder is written again.

    The result depends on the settings alone, so that an ensemble that was killed and trains again
    has an equal result. Raises as `experiment.run` does.
    """
    num_members = settings.ensemble or 0
    ranges = load_ranges(settings.ensemble_ranges, settings.overrides)
    overrides = [ranges.sample(settings.seed, member) for member in range(num_members)]
    with TrainingProcess.started(settings):
        cache = DataCache() if cache is None else cache
        single = prepare_members([settings], cache)[0]
        if single.prepared.val is None:
            raise IncompatibleSettingsError(
                f"ensemble={num_members} selects its members on the validation split, and this"
                " dataset has none: set dataset.val=0.2, for example."
            )
        members = _members(settings, single, overrides)
        owner = folder if isinstance(folder, RunFolder) else create_run_folder(settings, folder)
        with owner, log_to(owner.path) as log:
            if not quiet:
                announce(owner.path)
            write_data_report(owner.path, single, quiet)
            write_config_and_provenance(owner.path, settings, single.prepared.data_hash)
            stopwatch = Stopwatch()
            val = Rows.of_split(single.prepared, "val", owner.path)
            training = PackedTraining(members, overrides, val, settings.seed)
            log.info("%d members in training", num_members)
            outcomes = training.run()
            model, selected = training.result()
            measured = {
                f"{split}/{name}": value
                for split in SPLITS
                if getattr(single.prepared, split) is not None
                for name, value in _metrics(model, single, split, owner.path).items()
            }
            summary: dict[str, Any] = {
                **_facts(training, outcomes, selected),
                "num_parameters": sum(one.theta_KP.numel() for one in model.members),
                **stopwatch.elapsed.rounded(),
                "population": num_members,
                "metrics": measured,
            }
            write_ensemble(owner.path / "weights.safetensors", model, selected)
            write_json(owner.path / FILE, _document(training, overrides))
            write_history(owner.path, history := _history(training))
            write_json(owner.path / "summary.json", summary)
            log.info("done: %s", summary["reason"])
            result = Run(owner.path, settings, summary, history, model)
            if on_result is not None:
                on_result(result)
            return result


class _SharedData(DataCache):
    """The same prepared data for all settings."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self.shared = prepared

    def prepared(self, settings: Settings) -> Prepared:
        return self.shared


def _members(
    settings: Settings, single: PreparedMember, overrides: list[list[str]]
) -> list[PreparedMember]:
    """The members, which share the data of the ensemble's own seed."""
    chosen = [
        member_settings(settings, lines, (settings.seed + member) % 2**32)
        for member, lines in enumerate(overrides)
    ]
    return prepare_members(chosen, _SharedData(single.prepared))


def _facts(
    training: PackedTraining, outcomes: Sequence[Outcome], selected: Sequence[Selected]
) -> dict[str, object]:
    """The entries of the summary on the training."""
    settings = training.members[0].settings
    num_selected = len({one.member for one in selected})
    return {
        "status": "done",
        "reason": f"{num_selected} of {len(training.members)} members selected",
        "name": settings.name,
        "seed": training.seed,
        "device": "cpu",
        "engine": settings.engine,
        "epochs": max(outcome.epochs for outcome in outcomes),
        "steps": max(outcome.steps for outcome in outcomes),
        "best_epoch": training.best.epoch if training.best else 0,
    }


def _metrics(model: Any, single: PreparedMember, split: str, folder: Path) -> dict[str, float]:
    rows = Rows.of_split(single.prepared, split, folder)
    scores_1NC = torch.tensor(model.scores(rows.x_NF))
    measured = metrics.final_metrics(rows.task.kind, scores_1NC, torch.tensor(rows.y)[None])
    return {name: float(value[0]) for name, value in measured.items()}


def _history(training: PackedTraining) -> History:
    values = np.array([[training.sign * one.score] for one in training.history])
    epochs = np.array([one.epoch for one in training.history])
    return History(
        (f"val/{training.metric}",), epochs, epochs, np.full(len(epochs), np.nan), values
    )


def _document(training: PackedTraining, overrides: list[list[str]]) -> dict[str, object]:
    """The sample, the members' scores on validation, and the selection over time."""
    weights: dict[int, float] = {}
    for chosen, weight in training.best.chosen if training.best else ():
        weights[chosen.member] = weights.get(chosen.member, 0.0) + weight
    return {
        "version": VERSION,
        "members": [
            {
                "member": number,
                "overrides": lines,
                "score": one.score if (one := training.candidates.get(number)) else None,
                "epoch": one.epoch if one else None,
                "weight": weights.get(number, 0.0),
                "retired": number in training.retired,
            }
            for number, lines in enumerate(overrides)
        ],
        "selections": [
            {
                "epoch": one.epoch,
                "score": one.score,
                "weights": [[c.member, c.epoch, weight] for c, weight in one.chosen],
            }
            for one in training.history
        ],
    }
