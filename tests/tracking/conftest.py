"""Composition is not what these tests are about."""
