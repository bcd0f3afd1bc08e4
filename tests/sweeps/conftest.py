"""Compose each configuration only once: composition is not what these tests check."""
