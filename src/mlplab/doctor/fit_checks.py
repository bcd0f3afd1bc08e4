"""Checks of the fit: what the data allows, and what was learned by heart."""

from __future__ import annotations

from mlplab.doctor import remedies, thresholds
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
    near = abs(train - best) < thresholds.NOISY_GAP and not (
        overfit_gap(evidence) > 2 * thresholds.OVERFIT_GAP
    )
    if not (near and best < thresholds.NOISY_SCORE and best > reference.constant + 0.05):
        return None
    return Finding(
        "label_noise",
        "similar inputs have different labels: neither the network nor simpler models can tell them"
        " apart",
        (
            Measured("train accuracy", train, f"from {thresholds.NOISY_SCORE:g}"),
            Measured("accuracy of simpler models", best, f"from {thresholds.NOISY_SCORE:g}"),
        ),
        (),
        "No override helps: look at the labels, or measure features that tell the classes apart.",
    )


def overfitting(evidence: Evidence) -> Finding | None:
    """A loss of other rows that rose while that of the training rows fell. With training.patience,
    such a rise is what ends the training, and the weights before it are kept: no ailment.
    """
    if evidence.settings.training.patience is not None:
        return None
    gap, rise = overfit_gap(evidence), overfit_rise(evidence)
    score_gap = evidence.last_score("train") - evidence.last_score("val")
    by_heart = gap > thresholds.BY_HEART_GAP and rise > thresholds.BY_HEART_RISE
    rose = gap > thresholds.OVERFIT_GAP and rise > thresholds.OVERFIT_RISE
    # without a difference of the scores, a few rows can make the loss
    if not (by_heart or (rose and score_gap > thresholds.OVERFIT_SCORE_GAP)):
        return None
    return Finding(
        "overfitting",
        f"{evidence.network.layout.num_parameters} parameters learned {len(evidence.train)} rows by"
        f" heart: from epoch {evidence.best_epoch} on, other rows were predicted worse and worse",
        (
            Measured("val loss - train loss", gap, f"up to {thresholds.OVERFIT_GAP:g}"),
            Measured("val loss - its minimum", rise, f"up to {thresholds.OVERFIT_RISE:g}"),
            Measured(
                f"train {evidence.score_name} - val {evidence.score_name}",
                score_gap,
                f"up to {thresholds.OVERFIT_SCORE_GAP:g}",
            ),
        ),
        remedies.regularized(evidence),
        "The best weights are those before; more rows, fewer units and training.patience=20 help,"
        " too. Losses are in units of the loss of outputs 0.",
    )


def early_stopping(evidence: Evidence) -> str | None:
    """What training.patience did about a loss of other rows that rose."""
    if evidence.settings.training.patience is None or evidence.status != "done":
        return None
    if not overfit_rise(evidence) > thresholds.OVERFIT_RISE:
        return None
    return (
        f"After epoch {evidence.best_epoch}, other rows were predicted worse and worse:"
        " training.patience ended the training, and the weights of that epoch are kept."
    )


def overfit_gap(evidence: Evidence) -> float:
    """(val loss - train loss) at the end / loss of outputs 0; NaN without val."""
    train_E, val_E = evidence.column("train/loss"), evidence.column("val/loss")
    return float((val_E[-1] - train_E[-1]) / evidence.zero_loss) if len(val_E) else float("nan")


def overfit_rise(evidence: Evidence) -> float:
    """(val loss at the end - its minimum) / loss of outputs 0; NaN without val."""
    val_E = evidence.column("val/loss")
    return float((val_E[-1] - val_E.min()) / evidence.zero_loss) if len(val_E) else float("nan")
