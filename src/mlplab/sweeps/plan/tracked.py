"""What is recorded of the jobs of a large sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mlplab.settings import Settings, Tracking

MAX_FULLY_TRACKED_JOBS = 100
"""Larger sweeps draw no pictures unless the user chooses `tracking`."""


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
        node = {name: value for name, value in config.items() if name.startswith("checkpoint_")}
        limited[key] = {
            "tracking": dataclasses.replace(
                settings.tracking, level="scalars", picture_share=Tracking().picture_share
            ),
            "config": {"tracking": {"name": "scalars", **node}},
        }
    tracking, changes = limited[key]["tracking"], limited[key]["config"]
    return dataclasses.replace(settings, tracking=tracking, config={**settings.config, **changes})
