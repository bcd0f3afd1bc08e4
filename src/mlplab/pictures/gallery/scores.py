"""Predictions compared with the true classes or values."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlplab.model.reliability import reliability as calibration
from mlplab.pictures.colors import COLORS, color
from mlplab.pictures.ranking import rank_scores
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import example_count, faint_grid, omitted_targets
from mlplab.pictures.study import Points, Study
from mlplab.pictures.style import SOFT, figure, headline, in_lines

MAX_CLASSES = 20


def _remark(study: Study, points: Points) -> str:
    return f"{study.eval_split} split, {example_count(points)} examples"


@picture(applies=lambda study: study.classifies)
def confusion(study: Study, frame: int) -> Figure:
    """Confusion matrix: rows are the true classes, columns the predicted ones."""
    points, probabilities = study.evaluate(frame)
    predicted = probabilities.argmax(1)
    count = min(len(study.classes), MAX_CLASSES)
    table = np.zeros((len(study.classes), len(study.classes)), int)
    np.add.at(table, (points.y.astype(int), predicted), 1)
    table, outside = table[:count, :count], table.sum() - table[:count, :count].sum()
    fraction = table / np.maximum(table.sum(1, keepdims=True), 1)
    side = max(3.6, 0.5 * count + 1.6)
    names = [in_lines(name, 14, 2)[0] for name in study.classes[:count]]
    longest = max(len(line) for name in names for line in name.split("\n"))
    room = 0.25 + 0.09 * longest
    fig = figure(
        side + 0.8 + room, side + room, left=0.6 + room, bottom=0.95 + room * 0.8, top=0.55
    )
    axes = fig.subplots()
    shown = axes.imshow(fraction, cmap="Blues", vmin=0, vmax=1)
    for (i, j), number in np.ndenumerate(table):
        if number:
            axes.text(
                j,
                i,
                f"{number:,}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if fraction[i, j] > 0.55 else "black",
            )
    axes.set_xticks(
        range(count),
        names,
        rotation=45 if longest > 4 else 0,
        ha="right" if longest > 4 else "center",
    )
    axes.set_yticks(range(count), names)
    axes.set(xlabel="predicted", ylabel="true")
    fig.colorbar(shown, ax=axes, label="fraction of the true class", shrink=0.8)
    return headline(
        fig,
        f"{study.settings.name}: accuracy {(predicted == points.y).mean():.3f}",
        _remark(study, points),
        f"only the first {count} of {len(study.classes)} classes, {outside:,} examples not shown"
        if count < len(study.classes)
        else "",
    )


@picture(applies=lambda study: study.classifies)
def roc(study: Study, frame: int) -> Figure:
    """Receiver operating characteristic and precision against recall, each class against the
    others.
    """
    points, probabilities = study.evaluate(frame)
    fig = figure(9.4, 4.4, top=0.5)
    left, right = fig.subplots(1, 2)
    class_indices = [1] if len(study.classes) == 2 else range(min(len(study.classes), len(COLORS)))
    skipped = []
    for c in class_indices:
        truth, score = points.y == c, probabilities[:, c]
        if truth.all() or not truth.any():
            skipped.append(study.classes[c])
            continue
        ranking = rank_scores(truth, score)
        left.plot(
            ranking.false_positive_rate,
            ranking.true_positive_rate,
            color=study.colors[c],
            label=f"{study.classes[c]}: area {ranking.area:.3f}",
        )
        right.step(
            ranking.true_positive_rate,
            ranking.precision,
            where="pre",
            color=study.colors[c],
            label=f"{study.classes[c]}: mean precision {ranking.mean_precision:.3f}",
        )
    left.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
    for axes, x, y in (
        (left, "false positive rate", "true positive rate"),
        (right, "recall", "precision"),
    ):
        axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
        faint_grid(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", fontsize=9)
    return headline(
        fig,
        f"{study.settings.name}: ROC and precision-recall",
        _remark(study, points),
        f"only the first {len(COLORS)} of {len(study.classes)} classes"
        if len(study.classes) > len(COLORS)
        else "",
        f"not drawn, since the split has no examples or only examples of: {', '.join(skipped[:5])}"
        if skipped
        else "",
    )


@picture(applies=lambda study: study.classifies)
def reliability(study: Study, frame: int) -> Figure | None:
    """Reliability diagram: accuracy against confidence in bins of equally many examples, and where
    95 % of calibrated networks lie.
    """
    points, probabilities = study.evaluate(frame)
    if not np.isfinite(probabilities).all():
        return None
    bins = calibration(probabilities, points.y.astype(np.int64))
    fig = figure(5.6, 5.2, top=0.5)
    axes = fig.subplots()
    low = min(bins.confidence.min(), bins.accuracy.min(), bins.low.min())
    start = max(0.0, float(low) - 0.03)
    axes.plot([start, 1], [start, 1], color=SOFT, linewidth=0.8, linestyle=":")
    axes.vlines(
        bins.confidence,
        bins.low,
        bins.high,
        color=SOFT,
        linewidth=7,
        alpha=0.35,
        label="95 % of calibrated networks",
    )
    axes.plot(bins.confidence, bins.accuracy, "o-", color=color(0), linewidth=1, label="this one")
    axes.set(
        xlabel="confidence: mean probability of the predicted class",
        ylabel="accuracy",
        xlim=(start, 1.02),
        ylim=(start, 1.02),
    )
    faint_grid(axes)
    axes.legend(loc="upper left", fontsize=9)
    return headline(
        fig,
        f"{study.settings.name}: calibration error {bins.ece:.3g}",
        _remark(study, points),
        f"if calibrated, mostly up to {bins.ece_95:.3g}",
    )


@picture(applies=lambda study: not study.classifies)
def residuals(study: Study, frame: int) -> Figure:
    """Predicted against true values, and the residuals."""
    points, predicted = study.evaluate(frame)
    names = study.prepared.target_names[:4]
    fig = figure(10.0, 2.9 * len(names) + 1.4, top=0.5, gap=0.9)
    rows = fig.subplots(len(names), 3, squeeze=False)
    for target, (panels, name) in enumerate(zip(rows, names, strict=True)):
        true, predictions = points.y[:, target].astype(float), predicted[:, target]
        residual = true - predictions
        panels[0].plot(true, predictions, ".", color=color(0), alpha=0.6, markersize=6)
        center = float(true.mean())
        panels[0].axline((center, center), slope=1, color=SOFT, linewidth=1, linestyle=":")
        panels[0].set(xlabel=f"true {name}", ylabel=f"predicted {name}")
        panels[1].plot(predictions, residual, ".", color=color(0), alpha=0.6, markersize=6)
        panels[1].axhline(0, color=SOFT, linewidth=1, linestyle=":")
        panels[1].set(xlabel=f"predicted {name}", ylabel="true - predicted")
        panels[2].hist(residual, bins=30, color=color(0), alpha=0.8)
        panels[2].set(xlabel="true - predicted", ylabel="examples")
        panels[2].locator_params(axis="x", nbins=5)
        panels[2].yaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in panels:
            faint_grid(axes)
    rmse = np.sqrt(((points.y - predicted) ** 2).mean())
    return headline(
        fig,
        f"{study.settings.name}: root mean squared error {rmse:.4g}",
        _remark(study, points),
        omitted_targets(study, len(names)),
    )
