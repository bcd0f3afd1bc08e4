"""Experiment trackers to which runs and sweeps are mirrored: MLflow, Weights & Biases, and those
that plugins register. This package imports none of them until it is used.
"""

from mlplab.trackers.base import Evaluation, TrackedRun, Tracker
from mlplab.trackers.registry import find, names, register

__all__ = ["Evaluation", "TrackedRun", "Tracker", "find", "names", "register"]
