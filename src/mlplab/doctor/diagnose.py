"""The order of the checks: a cause hides its consequences."""

from __future__ import annotations

import math
from collections.abc import Callable

from mlplab.doctor import data_checks, fit_checks, start_checks, state_checks, step_checks
from mlplab.doctor import thresholds
from mlplab.doctor.evidence import Evidence
from mlplab.doctor.finding import Diagnosis, Finding

Check = Callable[[Evidence], Finding | None]

DATA: tuple[Check, ...] = (data_checks.unscaled_inputs, data_checks.unscaled_target)
CAUSES: tuple[Check, ...] = (
    start_checks.symmetric,
    start_checks.saturated,
    start_checks.exploding,
    start_checks.vanishing,
    step_checks.too_high,
    step_checks.too_low,
    state_checks.dead_units,
    state_checks.stuck,
    state_checks.too_few_units,
)
"""Of a run that does worse than simple models: the first that applies hides the others."""


def diagnose(evidence: Evidence) -> Diagnosis:
    """Return the findings of a training, none for a healthy one.

    A run that does as well as simple models on the same rows is not searched for the cause of an
    ailment, whatever its weights look like.
    """
    if evidence.status not in ("done", "diverged", "interrupted"):
        return Diagnosis(())
    return Diagnosis(tuple(_findings(evidence)), tuple(_notes(evidence)))


def _findings(evidence: Evidence) -> list[Finding]:
    rare = data_checks.imbalance(evidence)
    does_badly = evidence.diverged or evidence.deficit > thresholds.DEFICIT
    if does_badly:
        if findings := [finding for check in DATA if (finding := check(evidence))]:
            return findings
        if rare is not None:
            return [rare]
        for check in CAUSES:
            if (finding := check(evidence)) is not None:
                return [finding]
    if rare is not None:
        return [rare]
    for check in (fit_checks.label_noise, fit_checks.overfitting):
        if (finding := check(evidence)) is not None:
            return [finding]
    return []


def _notes(evidence: Evidence) -> list[str]:
    notes = []
    history = evidence.history
    if len(history) and evidence.prepared.val is None:
        notes.append("There is no validation split, so that overfitting would not be seen.")
    if len(history) > 1 and evidence.status == "done":
        last = int(history.epoch[-1])
        if evidence.best_epoch == last and not _is_finished(evidence):
            notes.append(f"The best epoch is the last one: training.epochs={2 * last} may be better.")
    if not len(history):
        notes.append("The run has no metrics.csv, so that its updates cannot be judged.")
    return notes


def _is_finished(evidence: Evidence) -> bool:
    falls = evidence.falls()
    return math.isnan(falls) or falls < thresholds.LAST_FALL
