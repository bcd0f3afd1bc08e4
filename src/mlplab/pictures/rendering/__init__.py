"""Draws the pictures of a run: while it trains, at its end, and on demand."""
