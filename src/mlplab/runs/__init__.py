"""Run folders and where a run came from."""

from mlplab.runs.folder import (
    RunFolder,
    create,
    default_folder,
    unique,
)

__all__ = [
    "RunFolder",
    "create",
    "default_folder",
    "unique",
]
