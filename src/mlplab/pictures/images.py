"""Features that are the pixels of a square image."""

import math
import re
from collections.abc import Sequence

MIN_SIDE = 4
_PIXEL = re.compile(r"pixel[^[]*$")  # not one of the bins of a pixel


def image_side(feature_names: Sequence[str]) -> int | None:
    """The pixels in a row of a square image, if the features are named pixel... row by row."""
    side = math.isqrt(len(feature_names))
    is_square = side >= MIN_SIDE and side * side == len(feature_names)
    return side if is_square and all(map(_PIXEL.match, feature_names)) else None
