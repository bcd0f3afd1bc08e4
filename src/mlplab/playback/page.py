"""report.html of a run: one page that replays its training, without a server or any request."""

import base64
from pathlib import Path

import numpy as np

from mlplab.config.playground_link import write_link
from mlplab.explain.stored import (
    DARK_PICTURE,
    EXPLAIN_FILE,
    LIGHT_PICTURE,
    read_explanation,
    slice_lines,
)
from mlplab.io.files import write_text_atomic, yaml_text
from mlplab.io.html import render
from mlplab.model.reliability import reliability
from mlplab.pictures.study import Study
from mlplab.playback.payload import payload
from mlplab.runs.flat_config import user_overrides
from mlplab.runs.provenance import command_flags
from mlplab.runs.run import Run
from mlplab.task import accuracy_flatters
from mlplab.terminal.health import health_lines
from mlplab.terminal.suggested import train_command

_ASSETS = Path(__file__).parent / "assets"


def write_page(run: Run, study: Study) -> Path:
    """Write report.html into the folder of the run and return its path."""
    path = run.folder / "report.html"
    write_text_atomic(path, page(run, study))
    return path


def page(run: Run, study: Study) -> str:
    """Return the page as HTML. Text from users is always escaped, never markup or script."""
    description, arrays = payload(study)
    description["name"] = run.settings.name
    link, reason = write_link(run.settings.config)
    return render(
        _ASSETS,
        "page.html",
        name=run.settings.name,
        facts=facts_of(run) + calibration_of(study),
        health=health_lines(run.summary, run.folder),
        explanation=explanation_of(run.folder),
        command=repeat_command(run),
        config=yaml_text(run.settings.config),
        playground=link,
        no_playground=reason,
        note="; ".join(filter(None, [study.plane.note, description["left_out"]])),
        description=description,
        arrays=arrays,
    )


def repeat_command(run: Run) -> str:
    """Return the command line that trains the run again."""
    overrides = list(user_overrides(run.folder))
    if not any(override.startswith("seed=") for override in overrides):
        overrides.append(f"seed={run.settings.seed}")
    flags = [token for flag in command_flags(run.folder) for token in flag]
    return train_command(overrides, flags)


def calibration_of(study: Study) -> str:
    """Return the calibration error of a classifier, next to that of a calibrated one."""
    if not study.classifies:
        return ""
    points, probabilities_NC = study.evaluate(study.best_frame)
    if not np.isfinite(probabilities_NC).all():
        return ""
    result = reliability(probabilities_NC, points.y.astype(np.int64))
    return f" · ece {result.ece:.3g} (calibrated: up to {result.ece_95:.3g})"


def _accuracies(run: Run) -> tuple[str, ...]:
    names = "test/accuracy", "test/balanced_accuracy"
    return names if accuracy_flatters(*map(run.metrics.get, names)) else names[:1]


def explanation_of(folder: Path) -> dict[str, object] | None:
    """Return the pictures of what `mlplab explain` wrote and the slices that it named; None if it
    wrote nothing.
    """
    pictures = {
        ground: folder / "pictures" / name
        for ground, name in (("light", LIGHT_PICTURE), ("dark", DARK_PICTURE))
    }
    if not (folder / EXPLAIN_FILE).is_file() or not pictures["light"].is_file():
        return None
    encoded = {
        ground: base64.b64encode(path.read_bytes()).decode() if path.is_file() else None
        for ground, path in pictures.items()
    }
    return {"lines": slice_lines(read_explanation(folder)), **encoded}


def facts_of(run: Run) -> str:
    """Return the status of a run, its length, its size, and its first metrics."""
    names = [
        name
        for name in (*_accuracies(run), "test/rmse", "test/loss", "val/accuracy", "val/rmse")
        if name in run.metrics
    ][:3]
    numbers = ", ".join(f"{name} {run.metrics[name]:.4g}" for name in names)
    return (
        "{status} · {epochs} epochs, best {best_epoch} · {num_parameters:,} parameters · ".format(
            **run.summary
        )
        + numbers
    )
