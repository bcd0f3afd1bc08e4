"""Checks of the size of the updates."""

from __future__ import annotations

import numpy as np

from mlplab.doctor import remedies, thresholds
from mlplab.doctor.evidence import Evidence
from mlplab.doctor.finding import Finding, Measured


def too_high(evidence: Evidence) -> Finding | None:
    """Updates that are too large to end near a minimum, or to end at all."""
    if evidence.diverged:
        return _diverged(evidence)
    if not len(evidence.ratios_EL):
        return None
    late, end = evidence.late_ratio(), end_over_min(evidence)
    jump = float(np.nanmax(evidence.ratios_EL)) if np.isfinite(evidence.ratios_EL).any() else 0.0
    early = evidence.best_epoch <= evidence.history.epoch[-1] / 5
    wanders = late > thresholds.RATIO_HIGH and (end > thresholds.END_OVER_MIN or early)
    killed = (jump > thresholds.RATIO_JUMP or end > thresholds.END_OVER_MIN) and (
        _died(evidence) > thresholds.DEAD
    )
    if not (wanders or killed):
        return None
    cause = (
        f"updates were so large, up to {jump:.0%} of the weights of a layer, that they left"
        f" {_died(evidence):.0%} of the units of a layer dead"
        if killed and not wanders
        else f"each update still changes the weights of a layer by {late:.0%}, so that they jump"
        " about the minimum"
    )
    return Finding(
        "lr_too_high",
        cause,
        (
            Measured("|update| / |weights| at the end", late, f"up to {thresholds.RATIO_HIGH:g}"),
            Measured("largest |update| / |weights|", jump, f"up to {thresholds.RATIO_JUMP:g}"),
            Measured(
                "train loss at the end / its minimum", end, f"up to {thresholds.END_OVER_MIN:g}"
            ),
        ),
        remedies.lower_lr(evidence),
    )


def _diverged(evidence: Evidence) -> Finding:
    optimizer = evidence.config.get("optimizer")
    rate = optimizer.get("lr") if isinstance(optimizer, dict) else None
    rate = float(rate) if isinstance(rate, (int, float)) else float("nan")
    l2 = evidence.settings.training.l2
    decay = rate * float(l2) if isinstance(l2, (int, float)) else 0.0
    if decay >= 1:
        return Finding(
            "lr_too_high",
            f"lr x l2 = {decay:.3g}: the penalty alone makes the weights change their sign and grow"
            " at every update (its limit is 2)",
            (Measured("lr x l2", decay, "below 0.1"),),
            ("training.l2=0.001", *remedies.lr(evidence, 0.1)),
        )
    numbers = (Measured("optimizer.lr", rate, "smaller here"),)
    if np.isfinite(evidence.ratios_EL).any():
        jump = float(np.nanmax(evidence.ratios_EL))
        healthy = f"up to {thresholds.RATIO_JUMP:g}"
        numbers = (Measured("largest |update| / |weights|", jump, healthy),)
    return Finding(
        "lr_too_high",
        "each update overshoots further than the one before",
        numbers,
        remedies.lower_lr(evidence),
        "training.clip_norm=1 bounds the size of an update, too.",
    )


def too_low(evidence: Evidence) -> Finding | None:
    """Updates that are too small to get anywhere in the length of the training."""
    if not len(evidence.ratios_EL):
        return None
    ratio = evidence.median_ratio()
    travel = ratio * evidence.steps
    loss_E = evidence.column("train/loss")
    falling = len(loss_E) > 1 and loss_E[-1] <= loss_E.min() * (1 + 1e-3) + 1e-12
    if not (ratio < thresholds.RATIO_LOW and travel < thresholds.TRAVEL_LOW and falling):
        return None
    if remedies.first_ratio(evidence) > thresholds.FIRST_RATIO_LOW:  # a plateau came later
        return None
    overrides = remedies.higher_lr(evidence)
    return Finding(
        "lr_too_low",
        f"{evidence.steps} updates of this size cannot change the weights much, and the loss is"
        " still falling",
        (
            Measured("|update| / |weights|", ratio, f"from {thresholds.RATIO_LOW:g}"),
            Measured("the same times the updates", travel, f"from {thresholds.TRAVEL_LOW:g}"),
        ),
        overrides,
    )


def end_over_min(evidence: Evidence) -> float:
    loss_E = evidence.column("train/loss")
    return float(loss_E[-1] / max(float(np.nanmin(loss_E)), 1e-12)) if len(loss_E) else 1.0


def _died(evidence: Evidence) -> float:
    """The largest share of units of a layer that died during the training."""
    pairs = zip(evidence.start_layers, evidence.last_layers, strict=True)
    large = [pair for pair in pairs if pair[0].h_BH.shape[1] >= thresholds.MIN_UNITS]
    return max((after.dead - before.dead for before, after in large), default=0.0)
