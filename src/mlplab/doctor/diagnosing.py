"""The order of the checks: a cause hides its consequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from mlplab.doctor import (
    data_checks,
    fit_checks,
    start_checks,
    state_checks,
    step_checks,
    thresholds,
)
from mlplab.doctor.evidence import Evidence
from mlplab.doctor.finding import Diagnosis, Finding

Check = Callable[[Evidence], Finding | None]

DATA: tuple[Check, ...] = (data_checks.unscaled_inputs, data_checks.unscaled_target)
CAUSES: tuple[Check, ...] = (
    start_checks.symmetric,
    start_checks.saturated,
    state_checks.dead_at_start,
    start_checks.exploding,
    start_checks.vanishing,
    step_checks.too_high,
)
"""Of a run that does worse than simple models: the first that applies hides the others."""

UNDERFIT: tuple[Check, ...] = (
    step_checks.too_low,
    state_checks.dead_units,
    state_checks.stuck,
    state_checks.too_few_units,
)
"""The same, of a run that does so on the rows that it was trained on."""


Restart = Callable[[], Sequence[float]]
"""() -> the train scores of the same run from other starts."""


def diagnose(evidence: Evidence, restart: Restart | None = None) -> Diagnosis:
    """Return the findings of a training, none for a healthy one. With `restart`, other starts tell
    apart a poor minimum and too few units, which look alike in one run.

    A run that does as well as simple models on the same rows is not searched for the cause of an
    ailment, whatever its weights look like.
    """
    if evidence.status not in ("done", "diverged", "interrupted"):
        return Diagnosis(())
    findings = _findings(evidence)
    if restart is not None and findings and findings[0].name in ("stuck", "too_few_units"):
        findings = [state_checks.by_restarts(evidence, restart())]
    return Diagnosis(tuple(findings), tuple(_notes(evidence)))


def _findings(evidence: Evidence) -> list[Finding]:
    rare = data_checks.imbalance(evidence)
    does_badly = evidence.diverged or evidence.deficit > thresholds.DEFICIT
    if does_badly:
        if findings := [finding for check in DATA if (finding := check(evidence))]:
            return findings
        if rare is not None:
            return [rare]
        if (finding := _first(CAUSES, evidence)) is not None:
            return [finding]
        if not evidence.fits_train and (finding := _first(UNDERFIT, evidence)) is not None:
            return [finding]
    finding = rare or _first((fit_checks.label_noise, fit_checks.overfitting), evidence)
    return [] if finding is None else [finding]


def _first(checks: Sequence[Check], evidence: Evidence) -> Finding | None:
    return next((finding for check in checks if (finding := check(evidence))), None)


def _notes(evidence: Evidence) -> list[str]:
    notes = []
    history = evidence.history
    if len(history) and evidence.prepared.val is None:
        notes.append("There is no validation split, so that overfitting would not be seen.")
    if len(history) > 1 and evidence.status == "done":
        last = int(history.epoch[-1])
        if evidence.best_epoch == last and not _is_finished(evidence):
            notes.append(
                f"The best epoch is the last one: training.epochs={2 * last} may be better."
            )
    if (kept := fit_checks.early_stopping(evidence)) is not None:
        notes.append(kept)
    if not len(history):
        notes.append("The run has no metrics.csv, so that its updates cannot be judged.")
    return notes


def _is_finished(evidence: Evidence) -> bool:
    falls = evidence.falls()
    return math.isnan(falls) or falls < thresholds.LAST_FALL
