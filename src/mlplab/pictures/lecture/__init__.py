"""Figures of the lecture that need no run, drawn by `mlplab draw NAME`."""
