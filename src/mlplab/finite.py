"""Refuse to predict from outputs that are not finite.

The argmax of a row of NaNs is 0, so an overflow would silently become the first class.
"""

from __future__ import annotations

import numpy as np

from mlplab.errors import NotFiniteError


def check_finite_outputs(outputs: np.ndarray, source: str, first: int = 1, by: str = "") -> None:
    """Raise NotFiniteError unless all outputs are finite.

    Args:
        outputs: class probabilities [N, C] or values [N, T].
        source: the file or argument that the rows come from.
        first: the number of the first row in the source.
        by: the run that predicts, if there are several.
    """
    finite_N = np.isfinite(outputs).all(tuple(range(1, outputs.ndim)))
    if finite_N.all():
        return
    row = int((~finite_N).argmax())
    value = outputs[row][~np.isfinite(outputs[row])].flat[0]
    counting = " (counted from 0)" if first == 0 else ""
    network = f"the network in {by}" if by else "the network"
    raise NotFiniteError(
        f"{source}, row {first + row}{counting}: the output of {network}"
        f" is {value}, so there is no prediction; {int((~finite_N).sum())} such row(s). Either the"
        " row has numbers far outside the training data: correct it or leave it out. Or the"
        " weights are not finite: train again with a smaller learning rate."
    )
