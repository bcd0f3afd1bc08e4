"""Composition is not what these tests are about."""

from composing import composed_once  # noqa: F401
