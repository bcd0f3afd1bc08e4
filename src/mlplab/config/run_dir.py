"""The folder that a run will create: refused before anything is computed where it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

from mlplab.errors import ConfigError


def check_folder(folder: str | Path, key: str = "hydra.run.dir") -> Path:
    """The folder as an absolute path. Raises ConfigError where it is taken, or cannot be
    created.
    """
    place = Path(os.path.abspath(folder))
    text = f"The folder {place} (`{key}`)"
    if any(ord(sign) < 32 for sign in str(folder)) or any(
        len(os.fsencode(piece)) > 255 for piece in place.parts
    ):
        raise ConfigError(
            f"{text[:120]}... cannot be a folder: a name in it is longer than 255 bytes or holds a"
            " control character."
        )
    if place.is_dir() and any(place.iterdir()):
        raise ConfigError(
            f"{text} is there already and is not empty. A run never writes into another's folder;"
            f" name a new one with {key}=..., or leave it out."
        )
    parent = next(path for path in (place, *place.parents) if os.path.lexists(path))
    if not parent.is_dir():
        raise ConfigError(
            f"{text} cannot be created: {parent} is a file. Name another folder with {key}=...."
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{text} cannot be created: no permission to write in {parent}. Name another folder"
            f" with {key}=...."
        )
    return place
