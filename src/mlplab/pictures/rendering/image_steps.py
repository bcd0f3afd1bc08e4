"""At which steps the images over a training are drawn."""

MIN_IMAGES, MAX_IMAGES = 3, 40
"""Limits of the images of one picture; at least the start, the end and one in between."""


def spread(count: int, number: int, continued: bool = False) -> list[int]:
    """Return up to `number` indices below `count` in increasing order, evenly spaced and including
    the last one; the first one too, unless they continue an earlier series.
    """
    if count == 0:
        return []
    if number == 1 or continued:
        positions = [(i + 1) * count / number - 1 for i in range(number)]
    else:
        positions = [i * (count - 1) / (number - 1) for i in range(number)]
    return sorted({max(0, round(position)) for position in positions})
