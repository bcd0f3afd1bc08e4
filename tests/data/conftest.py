"""Compose configurations only once: these tests are not about composition."""

from composing import composed_once  # noqa: F401
