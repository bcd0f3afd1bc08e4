"""What is recorded of the jobs of a large sweep, and whether it is stored in folders or packs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mlplab.config.registry import TRACKING_KEYS
from mlplab.settings import Settings, Tracking

MAX_FULLY_TRACKED_JOBS = 100
"""Larger sweeps draw no pictures unless the user chooses `tracking`."""

FOLDERS, PACKED = "folders", "packed"
MAX_JOB_FOLDERS = 200
"""Larger sweeps pack their jobs unless the user chooses `tracking.jobs`."""


def job_format(settings: Sequence[Settings], num_jobs: int | None = None) -> str:
    """Return FOLDERS or PACKED for a new sweep with these jobs, by their `tracking.jobs`.

    `num_jobs` is the number of jobs that the sweep will have, if these are only the first ones, as
    in a search.
    """
    chosen = settings[0].tracking.jobs
    if chosen != "auto":
        return chosen
    is_large = max(len(settings), num_jobs or 0) > MAX_JOB_FOLDERS
    return PACKED if is_large and not _draws_all(settings) else FOLDERS


def folders_reason(settings: Sequence[Settings]) -> str:
    """Return why the jobs of a large sweep get folders with `tracking.jobs=auto`; empty if they are
    packed.
    """
    if len(settings) <= MAX_JOB_FOLDERS or settings[0].tracking.jobs != "auto":
        return ""
    if _draws_all(settings):
        return "tracking=full draws the pictures of each; tracking.jobs=packed leaves them out"
    return ""


def _draws_all(settings: Sequence[Settings]) -> bool:
    """Whether the user chose full tracking, which needs folders."""
    return any("tracking=full" in one.overrides for one in settings)


def limit_tracking(settings: Sequence[Settings]) -> list[Settings]:
    """In a large sweep, reduce full tracking to scalars unless the user chose `tracking`."""
    if len(settings) <= MAX_FULLY_TRACKED_JOBS:
        return list(settings)
    limited: dict[tuple[int, int], dict[str, Any]] = {}  # by id: jobs share what they agree in
    return [
        (
            _with_scalars_only(s, limited)
            if s.tracking.level == "full"
            and not any(override.lstrip("+").startswith("tracking=") for override in s.overrides)
            else s
        )
        for s in settings
    ]


def _with_scalars_only(
    settings: Settings, limited: dict[tuple[int, int], dict[str, Any]]
) -> Settings:
    config: Any = settings.config.get("tracking") or {}
    key = id(settings.tracking), id(config)
    if key not in limited:
        node = {name: value for name, value in config.items() if name in TRACKING_KEYS["scalars"]}
        limited[key] = {
            "tracking": dataclasses.replace(
                settings.tracking, level="scalars", picture_share=Tracking().picture_share
            ),
            "config": {"tracking": {"name": "scalars", **node}},
        }
    tracking, changes = limited[key]["tracking"], limited[key]["config"]
    return dataclasses.replace(settings, tracking=tracking, config={**settings.config, **changes})
