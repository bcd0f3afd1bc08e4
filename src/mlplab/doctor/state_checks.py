"""Checks of the units at the end of a training."""

from __future__ import annotations

from collections.abc import Sequence

from mlplab.doctor import remedies, thresholds
from mlplab.doctor.evidence import Evidence
from mlplab.doctor.finding import Finding, Measured
from mlplab.doctor.probing import unused_units
from mlplab.network.layer import hidden_widths


def dead_at_start(evidence: Evidence) -> Finding | None:
    """A layer most of whose units are constant from the start, and stayed so."""
    pairs = list(zip(evidence.start_layers, evidence.last_layers, strict=True))
    share = max((min(start.dead, last.dead) for start, last in pairs), default=0.0)
    return _dead(evidence, share, True) if share > thresholds.DEAD_AT_START else None


def dead_units(evidence: Evidence) -> Finding | None:
    """Units that are constant on all rows and get no gradient."""
    layers = [
        state for state in evidence.last_layers if state.h_BH.shape[1] >= thresholds.MIN_UNITS
    ]
    share = max((state.dead for state in layers), default=0.0)
    return _dead(evidence, share, False) if share > thresholds.DEAD else None


def _dead(evidence: Evidence, share: float, at_start: bool) -> Finding:
    overrides = remedies.relu(evidence, "leaky_relu")
    return Finding(
        "dead_units",
        f"{share:.0%} of the units of a hidden layer are constant on all rows"
        f"{', as they were at the start' if at_start else ''}: they get no gradient and cannot"
        " recover",
        (Measured("dead units of a layer", share, f"up to {thresholds.DEAD:g}"),),
        overrides if at_start else (*overrides, *remedies.lower_lr(evidence)),
    )


def stuck(evidence: Evidence) -> Finding | None:
    """A plateau although the network has units to spare."""
    if not evidence.falls() < thresholds.LAST_FALL or not _has_spare_units(evidence):
        return None
    return _stuck(evidence, ())


def _stuck(evidence: Evidence, others: tuple[Measured, ...]) -> Finding:
    return Finding(
        "stuck",
        "the loss does not fall any more although the network could do better: this start led to a"
        " plateau or a poor minimum, which another one may miss",
        (_train_score(evidence), *others),
        (*remedies.wider(evidence), f"seed={evidence.settings.seed + 1}"),
        "More units make poor minima rarer; several seeds show how many starts succeed.",
    )


def too_few_units(evidence: Evidence) -> Finding | None:
    """A plateau that the structure explains."""
    falls = evidence.falls()
    widths = hidden_widths(evidence.settings.layers)
    narrow = not widths or min(widths) < thresholds.WIDE_ENOUGH
    if not narrow or not falls < 2.5 * thresholds.LAST_FALL:
        return None
    return _too_few(evidence, ())


def by_restarts(evidence: Evidence, scores: Sequence[float]) -> Finding:
    """Whether other starts, of which these are the train scores, do better."""
    good = [score > evidence.reference.best - thresholds.DEFICIT for score in scores]
    share = Measured("other starts that do well", sum(good) / max(len(good), 1), "1")
    return _stuck(evidence, (share,)) if any(good) else _too_few(evidence, (share,))


def _too_few(evidence: Evidence, others: tuple[Measured, ...]) -> Finding:
    widths = hidden_widths(evidence.settings.layers)
    what = f"of {'-'.join(map(str, widths))} units" if widths else "without a hidden layer"
    return Finding(
        "too_few_units",
        f"a network {what} cannot fit the training rows as well as"
        f" {evidence.reference.best_name} can",
        (_train_score(evidence), *others),
        remedies.wider(evidence),
        "" if others else "An unlucky start looks alike: `mlplab doctor` tries others.",
    )


def _train_score(evidence: Evidence) -> Measured:
    score = evidence.last_score("train")
    return Measured(f"train {evidence.score_name}", score, _near(evidence))


def _near(evidence: Evidence) -> str:
    reference = evidence.reference
    name = f" of {reference.best_name}" if reference.best_name else ""
    return f"near the {reference.best:.3g}{name}"


def _has_spare_units(evidence: Evidence) -> bool:
    widths = hidden_widths(evidence.settings.layers)
    if not widths:
        return False
    if min(widths) >= thresholds.WIDE_ENOUGH:
        return True
    parameters = evidence.network.layout.num_parameters
    if parameters >= evidence.train.y.size:
        return True
    return any(unused_units(state.h_BH, thresholds.UNUSED) for state in evidence.last_layers)
