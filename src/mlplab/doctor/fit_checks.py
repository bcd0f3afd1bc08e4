"""Checks of the fit: what the data allows, and what was learned by heart."""

from __future__ import annotations

from mlplab.doctor import thresholds
from mlplab.doctor.evidence import Evidence
from mlplab.doctor.finding import Finding, Measured


def label_noise(evidence: Evidence) -> Finding | None:
    """Labels that neither the network nor the neighbors of a row can tell."""
    if not evidence.classifies:
        return None
    train = evidence.last_score("train")
    if not train < thresholds.NOISY_SCORE:
        return None
    reference = evidence.reference
    best = reference.best
    near = abs(train - best) < thresholds.NOISY_GAP
    if not (near and best < thresholds.NOISY_SCORE and best > reference.constant + 0.05):
        return None
    return Finding(
        "label_noise",
        "equal inputs have different labels: neither the network nor simpler models can tell them"
        " apart",
        (
            Measured("train accuracy", train, f"from {thresholds.NOISY_SCORE:g}"),
            Measured("accuracy of simpler models", best, f"from {thresholds.NOISY_SCORE:g}"),
        ),
        (),
        "No override helps: look at the labels, or measure features that tell the classes apart.",
    )


def overfitting(evidence: Evidence) -> Finding | None:
    """A loss that is much lower on the rows that were trained on than on others."""
    gap = overfit_gap(evidence)
    if not gap > thresholds.OVERFIT_GAP:
        return None
    val_E = evidence.column("val/loss")
    rise = float(val_E[-1] / max(float(val_E.min()), 1e-12))
    rows = len(evidence.train)
    parameters = evidence.network.layout.num_parameters
    return Finding(
        "overfitting",
        f"{parameters} parameters learned {rows} rows by heart: other rows are predicted much worse",
        (
            Measured(
                "(val loss - train loss) / loss of outputs 0",
                gap,
                f"up to {thresholds.OVERFIT_GAP:g}",
            ),
            Measured("val loss at the end / its minimum", rise, "near 1"),
        ),
        ("training.l2=0.01", "model.dropout=0.2"),
        "More rows, fewer units and training.patience=20 help, too.",
    )


def overfit_gap(evidence: Evidence) -> float:
    """(val loss - train loss) at the end / loss of outputs that are all 0; NaN without val."""
    train_E, val_E = evidence.column("train/loss"), evidence.column("val/loss")
    if not len(val_E) or evidence.prepared.val is None:
        return float("nan")
    return float((val_E[-1] - train_E[-1]) / max(abs(zero_loss(evidence)), 1e-12))


def zero_loss(evidence: Evidence) -> float:
    """The loss of outputs that are all 0, on the probed rows."""
    return evidence.gradients.zero_loss
