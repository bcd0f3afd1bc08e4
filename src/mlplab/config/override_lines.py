"""Overrides as lines that a user types, without parsing their values."""

from __future__ import annotations


def split(line: str) -> tuple[str, str]:
    """Return the key of an override, without the + that adds it, and the text of its value."""
    key, _, value = line.lstrip("+").partition("=")
    return key, value


def key_of(line: str) -> str:
    """Return the key of an override, without the + that adds it."""
    return split(line)[0]
