"""TensorBoard event files and metrics.csv."""

from mlplab.tracking.events import EventWriter, clean_tag, write_history
from mlplab.tracking.metrics_file import MetricsFile, bulk_metrics, read_metrics

__all__ = [
    "EventWriter",
    "MetricsFile",
    "bulk_metrics",
    "clean_tag",
    "read_metrics",
    "write_history",
]
