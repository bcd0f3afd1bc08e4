"""Errors that teach: what is wrong, where it stands, and the nearest right thing, in one
paragraph.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

ALIASES = {
    "learningrate": "lr",
    "gpu": "cuda",
    "layers": "hidden",
    "hiddenlayers": "hidden",
    "epsilon": "eps",
    "batch": "batch_size",
    "data": "dataset",
    "network": "model",
}
"""What other programs call a key or a word, without the signs between its letters."""


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word of the list that the user most likely meant, or None where nothing is near."""
    plain = {_plain(known): known for known in sorted(words, reverse=True)}
    typed = _plain(word)
    if ALIASES.get(typed) in plain.values():
        return ALIASES[typed]
    found = difflib.get_close_matches(typed, plain, n=1, cutoff=0.6)
    if not found and len(typed) >= 2:
        found = sorted(
            (
                known
                for known in plain
                if known.startswith(typed) or (len(typed) >= 4 and typed in known)
            ),
            key=len,
        )
    return plain[found[0]] if found else None


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")


def did_you_mean(word: str, words: Iterable[str], shown: str = "`{}`") -> str:
    """ "Did you mean `adam`? " or nothing."""
    near = nearest(word, words)
    return (
        f"Did you mean {shown.replace('{}', near, 1)}? " if near else ""
    )  # the rest of `shown` may be what the user typed, braces and all


def listing(words: Iterable[str], last: str = ", ", empty: str = "nothing") -> str:
    """ "a, b, c"; with `last` = " and ": "a, b and c"."""
    known: Sequence[str] = list(words)
    if not known:
        return empty
    return ", ".join(known[:-1]) + last + known[-1] if len(known) > 1 else known[0]


def shown(value: object, limit: int = 80) -> str:
    """A value as the user would type it, cut where it is long."""
    text = (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else repr(value)
    )
    return text if len(text) <= limit else text[: limit - 3] + "..."
