"""Training: a population of K networks, from the first step to the last."""

from mlplab.training.frames import FrameRecorder, Frames, concluded
from mlplab.training.history import History, Row
from mlplab.training.loop import Loop
from mlplab.training.outcome import Outcome
from mlplab.training.population import Population, build
from mlplab.training.style import STYLES, Training
from mlplab.training.together import (
    DataCache,
    Ready,
    populate,
    ready,
    structure,
    train_together,
)

__all__ = [
    "STYLES",
    "DataCache",
    "FrameRecorder",
    "Frames",
    "History",
    "Loop",
    "Outcome",
    "Population",
    "Ready",
    "Row",
    "Training",
    "build",
    "concluded",
    "populate",
    "ready",
    "structure",
    "train_together",
]
