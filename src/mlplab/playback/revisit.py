"""Loads a saved run and the study of its pictures."""

from pathlib import Path

from mlplab.pictures.run_study import study_of
from mlplab.pictures.study import Study
from mlplab.runs.run import Run, load


def revisit(folder: Path, needs_frames: bool = True) -> tuple[Run, Study]:
    """Return the run in a folder and the study that its pictures are drawn from.

    Raises PlaybackError as `study_of` does.
    """
    run = load(folder)
    return run, study_of(run, needs_frames)
