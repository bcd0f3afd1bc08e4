"""What a run leaves in its folder and shows on the terminal."""

from mlplab.tracking.events import EventWriter, clean_tag, write_history
from mlplab.tracking.files import (
    load_weights,
    save_weights,
    write_bytes_atomic,
    write_json,
    write_text_atomic,
    write_yaml,
)
from mlplab.tracking.metrics_file import MetricsFile, bulk_metrics, read_metrics
from mlplab.tracking.terminal import Progress, note, print_result

__all__ = [
    "EventWriter",
    "MetricsFile",
    "Progress",
    "bulk_metrics",
    "clean_tag",
    "load_weights",
    "note",
    "print_result",
    "read_metrics",
    "save_weights",
    "write_bytes_atomic",
    "write_history",
    "write_json",
    "write_text_atomic",
    "write_yaml",
]
