"""Loads the study of a saved run: its data is prepared again, its frames are read."""

from pathlib import Path

from mlplab.errors import PlaybackError
from mlplab.io.reading import read_json
from mlplab.pictures.study import Study
from mlplab.runs.frames_file import load_frames
from mlplab.runs.run import Run, load
from mlplab.training import prepare_members


def revisit(folder: Path) -> tuple[Run, Study]:
    """Return the run in a folder and the study that its pictures are drawn from.

    Raises PlaybackError if the folder has no frames, or if the data changed since the training.
    """
    run = load(folder)
    try:
        frames, best_frame = load_frames(folder)
    except FileNotFoundError as error:
        raise PlaybackError(str(error)) from None
    member = prepare_members([run.settings])[0]
    recorded_hash = read_json(folder / "provenance.json").get("data_hash")
    if recorded_hash and recorded_hash != member.prepared.data_hash:
        raise PlaybackError(
            f"The data of {folder} changed since it was trained"
            f" (dataset={run.settings.choice('dataset')}): its pictures cannot be drawn."
        )
    return run, Study(member.settings, member.prepared, frames, best_frame, run.history)
