"""Compose each configuration only once: composition is not what these tests check."""

from composing import composed_once  # noqa: F401
