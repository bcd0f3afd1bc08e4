"""frames.safetensors: the weights of a run at some evaluations, from which its pictures can be
drawn again and played back.
"""

from __future__ import annotations

from pathlib import Path

import torch

from mlplab.io.files import load_weights, save_weights
from mlplab.training import Frames

NAME = "frames.safetensors"


def save_frames(folder: Path, frames: Frames, chosen: int) -> None:
    """`chosen` is the frame of the weights that the run ended with."""
    numbers = {
        "epoch": torch.from_numpy(frames.epoch),
        "step": torch.from_numpy(frames.step),
        "theta": frames.theta_RP,
    }
    buffers = {f"buffer.{name}": value for name, value in frames.buffers.items()}
    save_weights(
        folder / NAME, {**numbers, **buffers}, {"format": "mlplab-frames-1", "chosen": str(chosen)}
    )


def load_frames(folder: Path) -> tuple[Frames, int]:
    """The frames, and which of them was chosen. Raises FileNotFoundError where the run kept
    none.
    """
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no frames of its training: only a run with tracking=full keeps {NAME}."
        )
    tensors, metadata = load_weights(path)
    buffers = {
        name.removeprefix("buffer."): value
        for name, value in tensors.items()
        if name.startswith("buffer.")
    }
    return Frames(
        tensors["epoch"].numpy(), tensors["step"].numpy(), tensors["theta"], buffers
    ), int(metadata["chosen"])
