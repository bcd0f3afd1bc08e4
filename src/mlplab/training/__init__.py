"""Training of a population of K networks, from the first step to the last."""

from mlplab.training.callback_checks import check_callbacks
from mlplab.training.frames import FrameRecorder, FrameRecorders, Frames, select_frames
from mlplab.training.history import Evaluation, History
from mlplab.training.outcome import Outcome
from mlplab.training.population import Population, build
from mlplab.training.prepare import (
    DataCache,
    PreparedMember,
    build_population,
    prepare_members,
    session_key,
    structure_key,
)
from mlplab.training.rows import Row
from mlplab.training.session import Callback, Session
from mlplab.training.steppers import Group
from mlplab.training.train import train_population

__all__ = [
    "Callback",
    "DataCache",
    "Evaluation",
    "FrameRecorder",
    "FrameRecorders",
    "Frames",
    "Group",
    "History",
    "Outcome",
    "Population",
    "PreparedMember",
    "Row",
    "Session",
    "build",
    "build_population",
    "check_callbacks",
    "prepare_members",
    "select_frames",
    "session_key",
    "structure_key",
    "train_population",
]
