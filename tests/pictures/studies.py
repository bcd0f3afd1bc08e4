"""Trained studies for the tests of pictures."""

from __future__ import annotations

from typing import Any

from building import make_settings

from mlplab.pictures.study import Study
from mlplab.training import FrameRecorder, prepare_members, select_frames, train_population


def study_of(epochs: int = 3, **fields: Any) -> Study:
    """A small network, trained a little."""
    member = prepare_members([make_settings(epochs=epochs, **fields)])[0]
    recorder = FrameRecorder()
    (outcome,) = train_population([make_settings(epochs=epochs, **fields)], [recorder])
    frames, best_frame = select_frames(recorder, outcome)
    return Study(member.settings, member.prepared, frames, best_frame, outcome.history)
