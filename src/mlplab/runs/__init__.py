"""Run folders, their files, checkpoints and provenance."""

from mlplab.runs.folder import (
    RunFolder,
    create,
    create_unique,
    default_folder,
)

__all__ = [
    "RunFolder",
    "create",
    "create_unique",
    "default_folder",
]
