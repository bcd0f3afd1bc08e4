"""The figure of a learning-rate range test: the loss after a short training against the rate."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mlplab.pictures.style import GRID, INK, NEGATIVE, POSITIVE, SOFT, figure, logarithmic
from mlplab.runs.lr_range import LearningRates
from mlplab.terminal.output import count


def lr_range(result: LearningRates, title: str = "") -> Figure:
    """Draw the loss against the learning rate, with the suggestion and where training diverges."""
    fig = figure(7.0, 4.3)
    axes = fig.add_axes((0.115, 0.16, 0.86, 0.68))
    rates, losses_R = np.array(result.rates), result.losses_R
    finite_SR = np.where(np.isfinite(result.losses_SR), result.losses_SR, np.nan)
    shown = np.isfinite(losses_R)
    positive = bool(shown.any()) and float(losses_R[shown].min()) > 0
    for losses_of_seed in finite_SR if len(finite_SR) > 1 else ():
        axes.plot(rates, losses_of_seed, color=POSITIVE, linewidth=0.8, alpha=0.35)
    label = "median of the seeds" if len(finite_SR) > 1 else "loss"
    values_R = np.where(shown, losses_R, np.nan)
    axes.plot(rates, values_R, color=POSITIVE, linewidth=2, marker="o", markersize=4, label=label)
    axes.axhline(result.start, color=SOFT, linewidth=0.8, linestyle=":", label="before training")
    if positive:
        axes.set_yscale("log")  # for the limits
    top = max(result.start, float(np.nanmin(values_R)) if shown.any() else result.start)
    low, _ = axes.get_ylim()
    axes.set_ylim(low, top * 2 if positive else top + 0.2 * abs(top))
    axes.set_xlim(rates[0], rates[-1])
    logarithmic(axes, horizontal=True)
    if positive:
        logarithmic(axes)
    if (edge := result.diverges_from) is not None:
        axes.axvspan(edge, rates[-1], color=NEGATIVE, alpha=0.12, linewidth=0, label="diverges")
    if (rate := result.suggestion) is not None:
        axes.axvline(rate, color=INK, linewidth=1.2, linestyle="--", label=f"suggested: {rate:.3g}")
    axes.grid(axis="both", color=GRID, linewidth=0.6)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"lowest {result.metric} in {count(result.steps, 'step')}")
    axes.legend(loc="lower left", framealpha=0.9, frameon=True, edgecolor=GRID)
    fig.text(0.115, 0.93, "Learning-rate range test", fontsize=12, weight="bold")
    fig.text(0.115, 0.875, title, fontsize=9, color=SOFT)
    return fig
