"""The members of a packed ensemble: their weights and scores, and the selection over time.

Shapes: M members, E selections.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlplab.pictures.colors import color
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import faint_grid
from mlplab.pictures.study import Study
from mlplab.pictures.style import INK, POSITIVE, SOFT, figure, headline, in_lines
from mlplab.runs.ensemble_document import EnsembleDocument, MemberEntry

MAX_MEMBERS = 32
ROW = 0.24  # inches


def _document(study: Study) -> EnsembleDocument:
    assert study.ensemble is not None
    return study.ensemble[1]


def _by_weight(document: EnsembleDocument) -> list[MemberEntry]:
    """The members that are drawn: the largest weights first, then the best scores."""
    return sorted(document.measured, key=lambda one: -one.weight)[:MAX_MEMBERS]


@picture(applies=lambda study: study.ensemble is not None)
def members(study: Study, frame: int) -> Figure:
    """The weight of each member of a packed ensemble, and its metric on validation by itself."""
    document = _document(study)
    shown = _by_weight(document)
    varying = document.varying_keys
    labels = [f"{one.member}: {document.described(one, varying)}" for one in shown]
    longest = max(map(len, labels), default=1)
    rows = ROW * max(3, len(shown))
    left = 0.35 + 0.073 * min(longest, 64)
    fig = figure(left + 6.0, rows + 1.6, left=left, bottom=0.75, top=0.6, gap=0.3)
    weights, scores = fig.subplots(1, 2, sharey=True)
    positions = np.arange(len(shown))[::-1]
    weights.barh(positions, [one.weight for one in shown], color=POSITIVE, height=0.62)
    weights.set_yticks(positions, [in_lines(label, 64, 1)[0] for label in labels], fontsize=8)
    weights.tick_params(axis="y", length=0)
    weights.set(xlabel="weight", ylim=(-0.6, len(shown) - 0.4))
    weights.grid(axis="x", linewidth=0.6, alpha=0.5)
    values = np.array([document.sign * (one.score or 0.0) for one in shown])
    chosen = np.array([one.weight > 0 for one in shown])
    for mask, face, name in ((chosen, color(0), "selected"), (~chosen, "none", "not selected")):
        if mask.any():
            look = {"color": color(0), "markerfacecolor": face, "linestyle": "none"}
            scores.plot(values[mask], positions[mask], marker="o", markersize=5, label=name, **look)
    if document.selections:
        best = document.sign * min(one.score for one in document.selections)
        scores.axvline(best, color=INK, linewidth=1.1, linestyle="--", label="ensemble")
    scores.set_xlabel(f"{document.metric} on validation")
    scores.tick_params(axis="y", length=0)
    scores.grid(axis="x", linewidth=0.6, alpha=0.5)
    scores.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize=8)
    count = sum(one.weight > 0 for one in document.members)
    return headline(
        fig,
        f"{study.settings.name}: {count} of {len(document.members)} members selected",
        "" if len(shown) == len(document.members) else f"the first {len(shown)} by weight",
    )


@picture(applies=lambda study: study.ensemble is not None)
def selection(study: Study, frame: int) -> Figure | None:
    """The metric of a packed ensemble and of its best member at each selection, and the weights
    over time.
    """
    document = _document(study)
    if not document.selections:
        return None
    shown = _by_weight(document)
    rows = max(3.0, ROW * 0.7 * len(shown))
    fig = figure(10.0, rows + 1.5, left=0.9, bottom=0.95, top=0.6, right=0.2, gap=0.9)
    curves, weights = fig.subplots(1, 2)
    _curves(curves, document, int(study.frames.epoch[study.best_frame]))
    _weights(fig, weights, document, shown)
    counts = [one.in_training for one in document.selections]
    return headline(
        fig,
        f"{study.settings.name}: the selection over time",
        f"networks in training at the first selection {counts[0]}, at the last {counts[-1]}",
    )


def _curves(axes: Axes, document: EnsembleDocument, best_epoch: int) -> None:
    epochs = [one.epoch for one in document.selections]
    ensemble = [document.sign * one.score for one in document.selections]
    best_member = [document.sign * one.best_member for one in document.selections]
    axes.plot(epochs, ensemble, "o-", markersize=3, color=color(0), label="ensemble")
    axes.plot(epochs, best_member, "s--", markersize=3, color=color(5), label="best member")
    axes.axvline(best_epoch, color=INK, linewidth=0.9, linestyle=":", label=f"epoch {best_epoch}")
    axes.set(xlabel="epoch", ylabel=f"{document.metric} on validation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    faint_grid(axes)
    axes.legend(loc="best", fontsize=9)


def _weights(fig: Figure, axes: Axes, document: EnsembleDocument, shown: list[MemberEntry]) -> None:
    row = {one.member: index for index, one in enumerate(shown)}
    weights_ME = np.zeros((len(shown), len(document.selections)))
    for e, one in enumerate(document.selections):
        for member, _, weight in one.weights:
            if member in row:
                weights_ME[row[member], e] += weight
    masked = np.ma.masked_equal(weights_ME, 0.0)
    axes.set_facecolor("none")
    drawn = axes.imshow(masked, aspect="auto", cmap="viridis_r", vmin=0, interpolation="nearest")
    epochs = [one.epoch for one in document.selections]
    every = -(-len(epochs) // 8)
    axes.set_xticks(range(0, len(epochs), every), list(map(str, epochs[::every])))
    axes.set_yticks(range(len(shown)), [str(one.member) for one in shown], fontsize=7)
    axes.tick_params(axis="y", length=0, colors=SOFT)
    axes.set(xlabel="epoch of the selection", ylabel="member")
    fig.colorbar(drawn, ax=axes, label="weight")
