"""frames.safetensors: the weights of a run at some evaluations, used to redraw its pictures and for
playback.
"""

from __future__ import annotations

from pathlib import Path

import torch

from mlplab.io.files import load_weights, save_weights
from mlplab.io.reading import reading
from mlplab.training import Frames

NAME = "frames.safetensors"


def save_frames(folder: Path, frames: Frames, best: int) -> None:
    """Write the frames to a folder. `best` is the index of the frame with the final weights."""
    tensors = {
        "epoch": torch.from_numpy(frames.epoch),
        "step": torch.from_numpy(frames.step),
        "theta": frames.theta_RP,
        **{f"buffer.{name}": value for name, value in frames.buffers.items()},
    }
    save_weights(folder / NAME, tensors, {"format": "mlplab-frames-1", "chosen": str(best)})


def has_frames(folder: Path) -> bool:
    """Return whether the run stored frames."""
    return (folder / NAME).is_file()


def missing_frames(folder: Path) -> str:
    """Return the sentence that says why a run has no frames."""
    return f"{folder} has no frames of its training: only runs with tracking=full write {NAME}."


def load_frames(folder: Path) -> tuple[Frames, int]:
    """Return the frames, and the index of the frame with the final weights.

    Raises FileNotFoundError if the run stored no frames.
    """
    path = folder / NAME
    if not has_frames(folder):
        raise FileNotFoundError(missing_frames(folder))
    with reading(path):
        tensors, metadata = load_weights(path)
        buffers = {
            name.removeprefix("buffer."): value
            for name, value in tensors.items()
            if name.startswith("buffer.")
        }
        frames = Frames(
            tensors["epoch"].numpy(), tensors["step"].numpy(), tensors["theta"], buffers
        )
        return frames, int(metadata["chosen"])
