"""Checks of the units at the end of a training."""

from __future__ import annotations

from mlplab.doctor import remedies, thresholds
from mlplab.doctor.evidence import Evidence
from mlplab.doctor.finding import Finding, Measured
from mlplab.doctor.probing import unused_units


def dead_units(evidence: Evidence) -> Finding | None:
    """Units that are constant on all rows and get no gradient."""
    shares = [state.dead for state in evidence.last_layers]
    if max(shares, default=0.0) <= thresholds.DEAD:
        return None
    worst = shares.index(max(shares))
    at_start = evidence.start_layers[worst].dead > thresholds.DEAD
    return Finding(
        "dead_units",
        f"{shares[worst]:.0%} of the units of hidden layer {worst + 1} are constant on all rows"
        f"{', as they were at the start' if at_start else ''}: they get no gradient and cannot"
        " recover",
        (Measured("dead units of a layer", shares[worst], f"up to {thresholds.DEAD:g}"),),
        remedies.relu(evidence, "leaky_relu"),
        "" if at_start else "A smaller optimizer.lr keeps units alive, too.",
    )


def stuck(evidence: Evidence) -> Finding | None:
    """A plateau although the network has units to spare."""
    falls = evidence.falls()
    if not falls < thresholds.LAST_FALL or not _has_spare_units(evidence):
        return None
    return Finding(
        "stuck",
        "the loss does not fall any more although the network could do better: this start led to a"
        " plateau or a poor minimum, which another one may miss",
        (
            Measured("fall of the loss over the last tenth", falls, "or a loss near 0"),
            Measured(f"train {evidence.score_name}", evidence.last_score("train"), _near(evidence)),
        ),
        (*remedies.wider(evidence), f"seed={evidence.settings.seed + 1}"),
        "`mlplab train -m ... seed=range(10)` shows how many starts succeed.",
    )


def too_few_units(evidence: Evidence) -> Finding | None:
    """A plateau that the structure explains."""
    falls = evidence.falls()
    widths = [layer.units for layer in evidence.settings.layers[:-1]]
    narrow = not widths or min(widths) < thresholds.WIDE_ENOUGH
    if not narrow or not falls < 5 * thresholds.LAST_FALL:
        return None
    what = f"of {'-'.join(map(str, widths))} units" if widths else "without a hidden layer"
    return Finding(
        "too_few_units",
        f"a network {what} cannot fit the training rows as well as"
        f" {evidence.reference.best_name} can",
        (
            Measured(f"train {evidence.score_name}", evidence.last_score("train"), _near(evidence)),
        ),
        remedies.wider(evidence),
    )


def _near(evidence: Evidence) -> str:
    reference = evidence.reference
    name = f" of {reference.best_name}" if reference.best_name else ""
    return f"near the {reference.best:.3g}{name}"


def _has_spare_units(evidence: Evidence) -> bool:
    widths = [layer.units for layer in evidence.settings.layers[:-1]]
    if not widths:
        return False
    if min(widths) >= thresholds.WIDE_ENOUGH:
        return True
    parameters = evidence.network.layout.num_parameters
    if parameters >= evidence.train.y.size:
        return True
    return any(unused_units(state.h_BH, thresholds.UNUSED) for state in evidence.last_layers)
