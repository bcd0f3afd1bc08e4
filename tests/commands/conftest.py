"""These tests do not test composition, so configurations are composed once."""

from composing import composed_once  # noqa: F401
