"""Run folders and where a run came from."""

from mlplab.runs.folder import (
    RunFolder,
    check_name,
    create,
    default_place,
    unique,
)
from mlplab.runs.provenance import provenance

__all__ = [
    "RunFolder",
    "check_name",
    "create",
    "default_place",
    "provenance",
    "unique",
]
