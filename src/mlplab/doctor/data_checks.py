"""Checks of the data as the network sees it.

Shapes: N rows, F features.
"""

from __future__ import annotations

import numpy as np

from mlplab.doctor import thresholds
from mlplab.doctor.evidence import Evidence
from mlplab.doctor.finding import Finding, Measured


def unscaled_inputs(evidence: Evidence) -> Finding | None:
    """Columns whose sizes are far from 1, or from each other, although nothing scales them."""
    if _dataset_key(evidence, "scaling") != "none":
        return None
    x_NF = evidence.train.x
    deviation_F = x_NF.std(0)
    varying_F = deviation_F[deviation_F > 1e-12 * max(float(deviation_F.max()), 1e-300)]
    if not len(varying_F):
        return None
    ratio = float(varying_F.max() / varying_F.min())
    rms = float(np.sqrt((x_NF**2).mean(0)).max())
    low, high = thresholds.COLUMN_RMS
    if ratio <= thresholds.COLUMN_RATIO and low <= rms <= high:
        return None
    return Finding(
        "unscaled_inputs",
        "the columns of the data have sizes that no learning rate suits",
        (
            Measured("largest column (root mean square)", rms, f"{low:g} to {high:g}"),
            Measured("largest / smallest deviation", ratio, f"up to {thresholds.COLUMN_RATIO:g}"),
        ),
        ("dataset.scaling=standard",),
    )


def unscaled_target(evidence: Evidence) -> Finding | None:
    """Target values that are far from 1, although the loss does not need their units."""
    if evidence.classifies or evidence.settings.loss.original_units:
        return None
    if _dataset_key(evidence, "target_scaling") != "none":
        return None
    rms = float(np.sqrt((evidence.train.y**2).mean(0)).max())
    if rms <= thresholds.TARGET_RMS:
        return None
    return Finding(
        "unscaled_target",
        "the outputs start near 0 and must first grow to the size of the target",
        (Measured("target (root mean square)", rms, f"up to {thresholds.TARGET_RMS:g}, scaled 1"),),
        ("dataset.target_scaling=standard",),
    )


def imbalance(evidence: Evidence) -> Finding | None:
    """A rare class that the network neglects."""
    if not evidence.classifies:
        return None
    shares_C = np.bincount(evidence.train.y, minlength=evidence.prepared.task.num_classes) / len(
        evidence.train
    )
    rarest = float(shares_C.min())
    if not 0 < rarest < thresholds.RARE_CLASS or _is_weighted(evidence):
        return None
    accuracy = evidence.metric("train/accuracy")
    gap = accuracy - evidence.metric("train/balanced_accuracy")
    if not gap > thresholds.BALANCED_GAP:
        return None
    constant = float(shares_C.max())
    return Finding(
        "imbalance",
        f"always predicting the largest class is right in {constant:.0%} of the rows, so that the"
        " rare classes hardly count",
        (
            Measured("rarest class", rarest, f"from {thresholds.RARE_CLASS:g}"),
            Measured("accuracy - balanced accuracy", gap, f"up to {thresholds.BALANCED_GAP:g}"),
        ),
        ("loss=cross_entropy", "loss.class_weights=balanced"),
        "Compare balanced_accuracy, since the accuracy itself may fall.",
    )


def _is_weighted(evidence: Evidence) -> bool:
    return getattr(evidence.settings.loss, "class_weights", None) is not None


def _dataset_key(evidence: Evidence, key: str) -> object:
    return getattr(evidence.settings.dataset, key, None)
