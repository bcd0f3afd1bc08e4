"""Options of predictions: the threshold between two classes, and the levels of intervals."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlplab.commands.folder_arguments import Options
from mlplab.errors import ConfigError
from mlplab.terminal.output import note

if TYPE_CHECKING:
    from mlplab.data.preparation.examples import Prepared
    from mlplab.runs.run import Run


def levels(text: str) -> tuple[float, ...]:
    """Return the levels of intervals, as in 0.5,0.9. Raises ArgumentTypeError."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a probability such as 0.9, or several such as 0.5,0.9"
        ) from error


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


THRESHOLD_OPTION: Options = {
    "--threshold": {
        "metavar": "T",
        "type": _threshold,
        "help": (
            "for two classes: predict the second one if its probability is at least T (default:"
            " 0.5); f1 or balanced_accuracy chooses the best T on the val split"
        ),
    },
}


def chosen_threshold(
    value: float | str | None, runs: Sequence[Run], prepared: Prepared | None = None
) -> float | None:
    """Return the threshold that an option names; a metric chooses it on the val split of the run,
    and a note reports it. `prepared` is the run's data, if it is at hand.

    Raises ConfigError unless the value fits the runs, and DataError if the data is gone.
    """
    if value is None:
        return None
    from mlplab.model.thresholds import check_threshold

    check_threshold(value, runs[0].preprocessing.task, runs[0].preprocessing.class_names)
    if not isinstance(value, str):
        return value
    if len(runs) > 1:
        raise ConfigError(
            f"--threshold {value} is chosen on the val split of one run, and these are {len(runs)},"
            " whose val splits may differ: give a number."
        )
    tuned = runs[0].tuned_threshold(value, prepared)
    note(f"threshold: {tuned}")
    return tuned.threshold
