"""The study of a saved run: its data is prepared again, its frames are read."""

from __future__ import annotations

import numpy as np

from mlplab.errors import PlaybackError
from mlplab.io.reading import read_json, reading
from mlplab.pictures.study import Study
from mlplab.runs.ensemble_document import FILE, EnsembleDocument
from mlplab.runs.frames_file import load_frames
from mlplab.runs.run import Run
from mlplab.training import Frames, PreparedMember, prepare_members


def study_of(run: Run, needs_frames: bool = True) -> Study:
    """Return the study that the pictures of a run are drawn from.

    Unless `needs_frames`, a run without frames has one, of its final weights. Raises PlaybackError
    if the folder lacks frames that are needed, or if the data changed since the training.
    """
    folder = run.folder
    try:
        frames, best_frame = load_frames(folder)
    except FileNotFoundError as error:
        if needs_frames:
            raise PlaybackError(str(error)) from None
        frames, best_frame = _final_frame(run), 0
    member = prepare_members([run.settings])[0]
    recorded_hash = read_json(folder / "provenance.json").get("data_hash")
    if recorded_hash and recorded_hash != member.prepared.data_hash:
        raise PlaybackError(
            f"The data of {folder} changed since it was trained"
            f" (dataset={run.settings.choice('dataset')}): its pictures cannot be drawn."
        )
    if run.settings.ensemble is not None:
        return study_of_ensemble(run, member)
    return Study(member.settings, member.prepared, frames, best_frame, run.history)


def study_of_ensemble(run: Run, member: PreparedMember) -> Study:
    """Return the study of a packed ensemble; `member` has its data. Raises PlaybackError if the
    folder lacks the list of the members.
    """
    document = EnsembleDocument.read(run.folder)
    if document is None:
        raise PlaybackError(
            f"{run.folder} lacks {FILE}, which lists the members of the ensemble: they cannot be"
            f" drawn."
        )
    ensemble = run.model, document
    return Study(member.settings, member.prepared, _final_frame(run), 0, run.history, ensemble)


def _final_frame(run: Run) -> Frames:
    with reading(run.folder / "summary.json"):
        best_epoch = int(run.summary["best_epoch"])
    step = run.history.step[run.history.epoch <= best_epoch].max(initial=0)
    theta_KP, buffers = run.model.theta_KP, dict(run.model.buffers)
    return Frames(np.array([best_epoch]), np.array([step]), theta_KP, buffers)
