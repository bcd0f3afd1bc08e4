"""Outputs of a network that are no prediction. The largest of several NaNs is the first one, so
argmax would give class 0 to a row of which nothing is known.
"""

from __future__ import annotations

import numpy as np


class NotFiniteError(ValueError):
    """A network whose output for a row is not a finite number. The command ends with
    `exit_code`.
    """

    exit_code = 2


def check_finite_outputs(outputs: np.ndarray, source: str, first: int = 1, by: str = "") -> None:
    """Raise NotFiniteError unless all of these outputs are finite numbers: class probabilities
    [N, C], or values [N, T].

    `source` is where the rows come from, `first` the number of the first of them there, and `by`
    the run that predicts, where there are several.
    """
    finite_N = np.isfinite(outputs).all(tuple(range(1, outputs.ndim)))
    if finite_N.all():
        return
    row = int((~finite_N).argmax())
    wrong = outputs[row][~np.isfinite(outputs[row])].flat[0]
    counted = " (counted from 0)" if first == 0 else ""
    network = f"the network in {by}" if by else "the network"
    raise NotFiniteError(
        f"{source}, row {first + row}{counted}: the output of {network}"
        f" is {wrong}, which is no prediction; {int((~finite_N).sum())} such row(s). Either the"
        " row has numbers far beyond those of the training: correct it or leave it out. Or the"
        " weights are not finite: train again, with a smaller learning rate."
    )
