"""The diagnosis of a run: when its training ends, and later from its folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mlplab.doctor import Diagnosis, Evidence, Weights, diagnose
from mlplab.errors import MlplabError, failure_text
from mlplab.io.files import load_weights
from mlplab.io.reading import reading
from mlplab.model.model import Model
from mlplab.runs.initial_weights_file import with_stored_weights
from mlplab.settings import Settings
from mlplab.training import Session
from mlplab.training.history import History
from mlplab.training.outcome import Outcome
from mlplab.training.prepare import DataCache, PreparedMember, prepare_members

STARTS = 8
"""Other starts that tell apart a poor minimum and too few units."""
MAX_SECONDS = 5.0
"""Processor time of a run up to which `mlplab doctor` trains these."""
MAX_STEPS = 5_000
MAX_WORK = 3e7
"""Steps, and epochs x rows x parameters, up to which the end of a training does: about 0.1 s."""


def findings_json(
    member: PreparedMember,
    outcome: Outcome,
    log: logging.Logger | None = None,
    other_starts: bool = False,
) -> list[dict[str, object]]:
    """Return the findings of a training that ended, as summary.json has them, and log them. With
    `other_starts`, these are trained where they decide and cost little.

    A diagnosis that fails costs a line in the log and no result.
    """
    try:
        findings = at_end(member, outcome, other_starts).findings
    except Exception as error:  # of a plugin's component, too
        if log is not None:
            log.warning("no diagnosis: %s", failure_text(error))
        return []
    if log is not None:
        for finding in findings:
            log.info("health: %s %s", finding, finding.remedy)
    return [finding.to_json() for finding in findings]


def at_end(member: PreparedMember, outcome: Outcome, other_starts: bool) -> Diagnosis:
    """The diagnosis of a training that ended just now."""
    work = outcome.epochs * len(member.prepared.train.real()) * outcome.theta_P.numel()
    small = outcome.steps <= MAX_STEPS and work <= MAX_WORK
    affordable = other_starts and small and outcome.status == "done"
    evidence = Evidence.of_outcome(member, outcome)
    return diagnose(evidence, partial(restarts, member) if affordable else None)


def diagnosis_of(
    folder: Path,
    settings: Settings,
    summary: Mapping[str, Any],
    history: History,
    best: Model,
    cache: DataCache | None = None,
) -> Diagnosis:
    """Diagnose a finished, diverged or interrupted run from its configuration, data, measurements
    and weights. Raises MlplabError if the data cannot be read.
    """
    settings = with_stored_weights(settings)
    [member] = prepare_members([settings], cache)
    last = _last_model(folder, settings, best)
    with reading(folder / "summary.json"):
        steps, best_epoch = (int(summary.get(key) or 0) for key in ("steps", "best_epoch"))
        metrics = {
            name: None if value is None else float(value)
            for name, value in summary["metrics"].items()
        }
    evidence = Evidence(
        member.settings,
        member.prepared,
        history,
        Weights(last.theta_KP[:1], {name: v[:1] for name, v in last.buffers.items()}),
        str(summary["status"]),
        str(summary.get("reason", "")),
        steps,
        best_epoch,
        metrics,
    )
    spent = summary.get("cpu_seconds")
    is_whole = summary["status"] == "done" and not summary.get("time_limited")
    affordable = is_whole and isinstance(spent, (int, float)) and spent < MAX_SECONDS
    with torch.no_grad():
        return diagnose(evidence, partial(restarts, member) if affordable else None)


def restarts(member: PreparedMember) -> list[float]:
    """The train scores of the run from other starts, all drawn, on the same data."""
    name = "accuracy" if member.prepared.task.classifies else "r2"
    members = [
        replace(member, settings=replace(member.settings.with_next_seed(k), initial=None))
        for k in range(1, STARTS + 1)
    ]
    session = Session.of(members)
    session.run()
    return [one.metrics.get(f"train/{name}", float("nan")) for one in session.outcomes()]


def _last_model(folder: Path, settings: Settings, best: Model) -> Model:
    """The model with its last weights, or the best ones if those are not stored."""
    try:
        tensors, _ = load_weights(folder / "checkpoints" / "last.safetensors")
        return Model.of_state(settings, best.preprocessing, tensors)
    except (OSError, ValueError, RuntimeError, KeyError, MlplabError):
        return best


def health_names(findings: Sequence[object]) -> str:
    """Return the names of findings as a cell of a table: "dead_units, overfitting"."""
    names = [str(one.get("name", "")) for one in findings if isinstance(one, dict)]
    return ", ".join(names)


def stored_health(summary: object) -> list[dict[str, object]]:
    """Return the findings in the content of a summary.json, without what is none."""
    health = summary.get("health") if isinstance(summary, dict) else None
    return [one for one in health if isinstance(one, dict)] if isinstance(health, list) else []
