"""Sweeps: many jobs planned, trained together, collected and reported."""
