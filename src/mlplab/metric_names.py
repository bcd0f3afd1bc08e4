"""The names of the metrics, which completion needs without importing torch."""

CHEAP = {"classification": ("accuracy",), "regression": ("mae", "rmse", "r2")}
"""The metrics of every evaluation, by kind of task."""
FINAL = {
    "classification": (
        *("accuracy", "balanced_accuracy", "f1", "mcc", "auroc", "average_precision"),
        *("log_loss", "brier"),
    ),
    "regression": ("mae", "rmse", "r2", "mape"),
}
"""The metrics at the end of a run, by kind of task."""
