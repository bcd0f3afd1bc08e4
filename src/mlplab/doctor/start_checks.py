"""Checks of the initial weights."""

from __future__ import annotations

from mlplab.doctor import remedies, thresholds
from mlplab.doctor.evidence import Evidence
from mlplab.doctor.finding import Finding, Measured
from mlplab.doctor.probing import equal_units, rectifies


def symmetric(evidence: Evidence) -> Finding | None:
    """Units that start equal, and so stay equal."""
    if not equal_units(evidence.network, evidence.start.theta_1P):
        return None
    if not equal_units(evidence.network, evidence.last.theta_1P):  # dropout can part them
        return None
    first = evidence.gradients.norms_L[0]
    return Finding(
        "symmetric_start",
        "all units of a hidden layer start with the same weights and get the same updates, so that"
        " the layer is one unit",
        (Measured("gradient of the first layer at the start", first, "above 0.05"),),
        remedies.initializer(evidence),
    )


def saturated(evidence: Evidence) -> Finding | None:
    """Units that start in the flat ends of their activation."""
    share = max((state.saturated for state in evidence.start_layers), default=0.0)
    if share <= thresholds.SATURATED or _rectified(evidence):
        return None
    flat = max(state.flat for state in evidence.start_layers)
    return Finding(
        "saturated_start",
        "the initial weights are so large that the activations start in their flat ends, where"
        " gradients vanish",
        (
            Measured("flat slopes in a layer at the start", flat, "up to 0.6"),
            Measured("loss at the start / loss of outputs 0", _loss_ratio(evidence), "up to 3"),
        ),
        remedies.initializer(evidence),
    )


def vanishing(evidence: Evidence) -> Finding | None:
    """A gradient that fades on its way back to the first layer."""
    norms = evidence.gradients.norms_L
    if len(norms) < 3 or not norms[-1] > 0:
        return None
    ratio = norms[0] / norms[-1]
    if ratio >= thresholds.GRADIENT_RATIO:
        return None
    overrides = remedies.relu(evidence)
    if _rectified(evidence):
        overrides = (*remedies.initializer(evidence), "model.normalization=layer")
    return Finding(
        "vanishing_gradient",
        f"the gradient fades on its way back through {len(norms) - 1} hidden layers, so that the"
        " first ones hardly learn",
        (
            Measured(
                "gradient of the first layer / last layer",
                ratio,
                f"from {thresholds.GRADIENT_RATIO:g}",
            ),
        ),
        overrides,
        "Fewer layers help, too.",
    )


def exploding(evidence: Evidence) -> Finding | None:
    """A signal that grows from layer to layer."""
    loss_ratio, gradient = _loss_ratio(evidence), _gradient(evidence)
    if loss_ratio <= thresholds.LOSS_RATIO and gradient <= thresholds.START_GRADIENT:
        return None
    return Finding(
        "exploding_start",
        "the initial weights are so large that the outputs, and with them the updates, are huge",
        (
            Measured(
                "loss at the start / loss of outputs 0",
                loss_ratio,
                f"up to {thresholds.LOSS_RATIO:g}",
            ),
            Measured("gradient at the start", gradient, f"up to {thresholds.START_GRADIENT:g}"),
        ),
        (*remedies.initializer(evidence), "training.clip_norm=1"),
    )


def _rectified(evidence: Evidence) -> bool:
    return rectifies([s.activation for s in evidence.settings.layers if s.activation])


def _loss_ratio(evidence: Evidence) -> float:
    return evidence.gradients.loss / evidence.zero_loss


def _gradient(evidence: Evidence) -> float:
    whole = sum(norm**2 for norm in evidence.gradients.norms_L) ** 0.5
    return float(whole / evidence.zero_loss)
