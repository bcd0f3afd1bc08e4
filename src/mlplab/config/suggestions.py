"""Helpers for error messages: the most similar valid name, and lists and values as text."""

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
"""Names that other programs use for a key or a choice, without separators."""


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that the user most likely meant; None if no candidate is similar."""
    by_plain_name = {_plain(candidate): candidate for candidate in sorted(candidates, reverse=True)}
    plain_name = _plain(name)
    if ALIASES.get(plain_name) in by_plain_name.values():
        return ALIASES[plain_name]
    matches = difflib.get_close_matches(plain_name, by_plain_name, n=1, cutoff=0.6)
    if not matches and len(plain_name) >= 2:
        matches = sorted(
            (
                candidate
                for candidate in by_plain_name
                if candidate.startswith(plain_name)
                or (len(plain_name) >= 4 and plain_name in candidate)
            ),
            key=len,
        )
    return by_plain_name[matches[0]] if matches else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def did_you_mean(name: str, candidates: Iterable[str], template: str = "`{}`") -> str:
    """Return "Did you mean `adam`? " with a trailing space, or an empty string."""
    similar = nearest(name, candidates)
    # not str.format: the rest of the template may be user input with braces
    return f"Did you mean {template.replace('{}', similar, 1)}? " if similar else ""


def listing(items: Iterable[str], last: str = ", ", empty: str = "nothing") -> str:
    """Return "a, b, c", or "a, b and c" with `last` = " and "."""
    names: Sequence[str] = list(items)
    if not names:
        return empty
    return ", ".join(names[:-1]) + last + names[-1] if len(names) > 1 else names[0]


def shown(value: object, limit: int = 80) -> str:
    """Return a value in the notation of overrides, truncated to `limit` characters."""
    text = (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else repr(value)
    )
    return text if len(text) <= limit else text[: limit - 3] + "..."
