"""Compose configurations only once: these tests are not about composition."""
