"""Runs and sweeps mirrored to experiment trackers. What is mirrored is what their folders have: a
process beside the training reads it there, so that a tracker can neither change nor stop a run.
"""
