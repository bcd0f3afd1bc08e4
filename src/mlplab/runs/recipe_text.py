"""The choices that experiment=table makes for a table, on one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from mlplab.config.shipped_experiments import TABLE
from mlplab.schema import Component, rules
from mlplab.settings import Settings
from mlplab.terminal.output import note

_SHOWN = {
    "training": (
        "epochs",
        "steps",
        "batch_size",
        "patience",
        "clip_norm",
        "average",
        "calibration",
    ),
    "dataset": ("scaling", "missing"),
}
"""The keys that are shown in any case; of other groups, those that differ from the default."""


def recipe_line(settings: Settings) -> str | None:
    """Return the choices of a run that follows experiment=table, once `auto` has values, such as
    "table: 128-128 relu, dropout=0.1; adamw lr=0.003, ...". None for any other run.
    """
    if settings.experiment != TABLE:
        return None
    embedding = settings.choice("embedding")
    groups = [
        "" if embedding == "none" else f"embedding={embedding}{_changed(settings.embedding)}",
        _network(settings),
        *(
            f"{settings.choice(group)}{_changed(getattr(settings, group))}"
            for group in ("optimizer", "schedule")
        ),
        " ".join(_values(settings, "training")),
        " ".join(_values(settings, "dataset")),
    ]
    typed = any(line.startswith("experiment=") for line in settings.overrides)
    advice = "" if typed else " (experiment=null trains without this recipe)"
    return f"experiment=table: {'; '.join(filter(None, groups))}{advice}"


def note_recipe(settings: Settings, log: logging.Logger | None = None, quiet: bool = False) -> None:
    """Print and log the choices of a run that follows experiment=table."""
    if (line := recipe_line(settings)) is not None:
        if log is not None:
            log.info(line)
        if not quiet:
            note(line)


def _network(settings: Settings) -> str:
    hidden = settings.layers[settings.num_embedding_layers or 0 : -1]
    widths = "-".join(str(layer.units) for layer in hidden) or "no hidden layer"
    names = [settings.choice("activation")] if hidden else []
    dropout = [f"dropout={hidden[0].dropout:g}"] if hidden and hidden[0].dropout else []
    normalized = [f"{hidden[0].normalization} normalization"] if hidden else []
    return ", ".join(
        [" ".join([widths, *names]), *dropout, *(n for n in normalized if not n.startswith("none"))]
    )


def _changed(component: Component | None) -> str:
    """The values of a component that are not its defaults, after a space."""
    if component is None:
        return ""
    default = type(component)()
    changed = [
        f"{key}={_text(getattr(component, key))}"
        for key in rules(component)
        if getattr(component, key) != getattr(default, key)
    ]
    return "".join(f" {text}" for text in changed)


def _values(settings: Settings, group: str) -> Iterator[str]:
    component = getattr(settings, group)
    for key in _SHOWN[group]:
        value = getattr(component, key, None)
        if value not in (None, "none"):
            yield f"{key}={_text(value)}"


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
