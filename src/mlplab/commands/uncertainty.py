"""What `mlplab evaluate` says of the uncertainty of predictions: calibration of probabilities,
intervals of values, and classes whose sizes make accuracy misleading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlplab.errors import DataError
from mlplab.task import accuracy_flatters, majority_dominates

if TYPE_CHECKING:
    import numpy as np

    from mlplab.data.preparation.examples import Prepared
    from mlplab.runs.evaluate import Rows
    from mlplab.runs.run import Run

LEVEL = 0.9


def uncertainty(
    run: Run, prepared: Prepared, rows: Rows, scores: np.ndarray
) -> tuple[list[str], dict[str, object]]:
    """Return lines, and entries of evaluation.json, on predictions of rows: probabilities [N, C] or
    values [N, T]. Intervals are those of the val split, calibrated now if they are not stored.
    """
    return (
        _of_classes(run, rows, scores)
        if rows.task.classifies
        else _of_values(run, prepared, rows, scores)
    )


def _of_classes(run: Run, rows: Rows, scores: np.ndarray) -> tuple[list[str], dict[str, object]]:
    import numpy as np

    from mlplab.model.reliability import reliability
    from mlplab.model.thresholds import decide
    from mlplab.terminal.output import digits

    result = reliability(scores, rows.y)
    temperature = run.summary.get("temperature")
    verdict = "within" if result.is_calibrated else "above"
    lines = [
        f"ece {digits(result.ece)}: {verdict} the {digits(result.ece_95)} that 95 % of calibrated"
        " networks stay below on these rows"
    ]
    if temperature is not None:
        lines.append(
            f"probabilities are calibrated with the temperature {digits(float(temperature))}"
        )
    counts = np.bincount(rows.y, minlength=rows.task.num_classes)
    right = decide(scores, rows.threshold) == rows.y
    by_class = [float(right[rows.y == c].mean()) for c in np.flatnonzero(counts)]
    accuracy, balanced = float(right.mean()), float(np.mean(by_class))
    is_unbalanced = majority_dominates(counts.tolist()) or accuracy_flatters(accuracy, balanced)
    if is_unbalanced and len(by_class) > 1:
        name, share = run.preprocessing.class_names[counts.argmax()], counts.max() / counts.sum()
        lines.append(
            f"{_percent(share)} of the rows are '{name}', so that balanced_accuracy says more than"
            f" accuracy: {digits(balanced)} against {digits(accuracy)}"
        )
    details = {**result.to_dict(), **({} if temperature is None else {"temperature": temperature})}
    return lines, {"calibration": details}


def _of_values(
    run: Run, prepared: Prepared, rows: Rows, scores: np.ndarray
) -> tuple[list[str], dict[str, object]]:
    from scipy.stats import binomtest

    from mlplab.model.intervals import interval
    from mlplab.runs.intervals import predicted
    from mlplab.terminal.output import digits

    try:
        intervals = run.intervals(prepared)
        ends = interval([(intervals, predicted(run.model, rows.x_NF, rows.source, 1))], LEVEL)
    except DataError as error:
        return [f"no intervals: {error}"], {}
    lower_NT, upper_NT = ends
    lines, entries = [], []
    for t, name in enumerate(run.preprocessing.target_names):
        inside = (rows.y[:, t] >= lower_NT[:, t]) & (rows.y[:, t] <= upper_NT[:, t])
        coverage = binomtest(int(inside.sum()), len(inside)).proportion_ci(method="wilson")
        width = float((upper_NT[:, t] - lower_NT[:, t]).mean())
        lines.append(
            f"{_percent(LEVEL)} intervals{f' of {name}' if len(lower_NT[0]) > 1 else ''} contain"
            f" {_percent(inside.mean(), 1)} of the rows (95 % interval {_percent(coverage.low, 1)}"
            f" to {_percent(coverage.high, 1)}); mean width {digits(width)}"
        )
        entries.append(
            {
                "target": name,
                "level": LEVEL,
                "coverage": float(inside.mean()),
                "low": float(coverage.low),
                "high": float(coverage.high),
                "mean_width": width,
                "calibration_rows": len(intervals.scores[t]),
            }
        )
    return lines, {"intervals": entries}


def _percent(share: float, decimals: int = 0) -> str:
    return f"{100 * share:.{decimals}f} %"
