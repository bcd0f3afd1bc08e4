"""Training: a population of K networks, from the first step to the last."""

from mlplab.training.frames import FrameRecorder, Frames, concluded
from mlplab.training.history import History, Row
from mlplab.training.loop import Loop
from mlplab.training.outcome import Outcome
from mlplab.training.population import Population, build
from mlplab.training.together import (
    DataCache,
    Ready,
    populate,
    ready,
    structure,
    train_together,
)

__all__ = [
    "DataCache",
    "FrameRecorder",
    "Frames",
    "History",
    "Loop",
    "Outcome",
    "Population",
    "Ready",
    "Row",
    "build",
    "concluded",
    "populate",
    "ready",
    "structure",
    "train_together",
]
