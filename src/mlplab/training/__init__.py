"""Training of a population of K networks, from the first step to the last."""

from mlplab.training.frames import FrameRecorder, Frames, select_frames
from mlplab.training.history import History, Row
from mlplab.training.loop import Loop
from mlplab.training.outcome import Outcome
from mlplab.training.population import Population, build
from mlplab.training.prepare import (
    DataCache,
    PreparedMember,
    build_population,
    prepare_members,
    structure_key,
    train_population,
)

__all__ = [
    "DataCache",
    "FrameRecorder",
    "Frames",
    "History",
    "Loop",
    "Outcome",
    "Population",
    "PreparedMember",
    "Row",
    "build",
    "build_population",
    "prepare_members",
    "select_frames",
    "structure_key",
    "train_population",
]
