"""report.html of a packed ensemble: its members, the selection, and its predictions."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from mlplab.io.files import write_text_atomic, yaml_text
from mlplab.io.html import render
from mlplab.pictures.gallery import pictures
from mlplab.pictures.study import Study
from mlplab.playback.page import calibration_of, explanation_of, facts_of, repeat_command
from mlplab.runs.ensemble_document import EnsembleDocument, MemberEntry
from mlplab.runs.run import Run
from mlplab.terminal.output import digits

_ASSETS = Path(__file__).parent / "assets"
METRICS = {
    True: ("log_loss", "accuracy", "balanced_accuracy", "auroc", "brier"),
    False: ("rmse", "mae", "r2"),
}
"""The metrics that are compared, for classes and for values."""
MAX_MEMBERS = 100
_FIRST = ("members", "selection", "decision")


def write_ensemble_page(run: Run, study: Study) -> Path:
    """Write report.html into the folder of a packed ensemble, with the pictures that are there, and
    return its path.
    """
    path = run.folder / "report.html"
    write_text_atomic(path, ensemble_page(run, study))
    return path


def ensemble_page(run: Run, study: Study) -> str:
    """Return the page as HTML. Text from users is always escaped."""
    assert study.ensemble is not None
    document = study.ensemble[1]
    members = sorted(document.members, key=lambda one: -one.weight)
    keys = document.varying_keys
    names = [f"{split}/{document.metric}" for split in ("val", "test")]
    num_selected = sum(one.weight > 0 for one in members)
    temperature = run.summary.get("temperature")
    return render(
        _ASSETS,
        "ensemble.html",
        name=run.settings.name,
        facts=f"{facts_of(run)} · {num_selected} of {len(members)} members selected"
        f"{calibration_of(study)}"
        + ("" if temperature is None else f" · temperature {temperature:.3g}"),
        metrics=_metric_rows(run, document, study.classifies),
        metrics_note=_metrics_note(document, study),
        figures=_figures(run.folder),
        explanation=explanation_of(run.folder),
        keys=[key.rpartition(".")[2] for key in keys],
        metric=f"val/{document.metric}",
        has_test=any(names[1] in one.metrics for one in members),
        members=[_member_row(document, one, keys, names) for one in members[:MAX_MEMBERS]],
        left_out=max(0, len(members) - MAX_MEMBERS),
        common=_common(document, keys),
        command=repeat_command(run),
        config=yaml_text(run.settings.config),
    )


def _metric_rows(run: Run, document: EnsembleDocument, classifies: bool) -> list[dict[str, object]]:
    """A row for each split and metric: of the ensemble, of its best member on validation, and the
    mean over the members.
    """
    best = document.measured[0].metrics if document.measured else {}
    main = [document.metric, *METRICS[classifies]]
    rows: list[dict[str, object]] = []
    for split in ("test", "val"):
        names = [f"{split}/{name}" for name in dict.fromkeys(main)]
        names = [name for name in names if name in run.metrics]
        mean = document.mean_member(names)
        for name in names:
            values = run.metrics[name], best.get(name), mean.get(name)
            rows.append(
                {
                    "first": name == names[0],
                    "split": split,
                    "metric": name.partition("/")[2],
                    "cells": [_digits(value) for value in values],
                }
            )
    return rows


def _metrics_note(document: EnsembleDocument, study: Study) -> str:
    best = f"Best member: {document.measured[0].member}, by {document.metric} on validation. "
    where = (
        "out of fold: networks predict rows that they did not train on"
        if study.prepared.held_out is not None
        else "those of the split that selected the members, and therefore optimistic"
    )
    return f"{best if document.measured else ''}The metrics on val are {where}."


def _member_row(
    document: EnsembleDocument, one: MemberEntry, keys: Sequence[str], names: Sequence[str]
) -> dict[str, object]:
    values = one.metrics
    val = values.get(names[0], None if one.score is None else document.sign * one.score)
    return {
        "number": one.member,
        "settings": [document.value_of(one, key) if one.overrides else "as set" for key in keys],
        "val": _digits(val),
        "test": _digits(values.get(names[1])),
        "epoch": "" if one.epoch is None else one.epoch,
        "weight": f"{one.weight:.3f}" if one.weight else "",
        "share": f"{80 * one.weight / max(other.weight for other in document.members) or 0:.0f}"
        if one.weight
        else "0",
        "selected": one.weight > 0,
        "state": "retired" if one.retired else "" if one.score is not None else "not finite",
    }


def _common(document: EnsembleDocument, keys: Sequence[str]) -> str:
    """What all members have in common of what ensembles set."""
    return ", ".join(
        line for line in document.members[0].overrides if line.partition("=")[0] not in keys
    )


def _figures(folder: Path) -> list[dict[str, str]]:
    """The pictures of the ensemble that are in its folder, those of its members first."""
    ordered = sorted(
        pictures(), key=lambda one: _FIRST.index(one.name) if one.name in _FIRST else len(_FIRST)
    )
    present = []
    for picture in ordered:
        light, dark = (
            folder / "pictures" / f"{picture.name}{ground}.png" for ground in ("", "-dark")
        )
        if light.is_file():
            encoded = {"light": _base64(light), "dark": _base64(dark) if dark.is_file() else ""}
            present.append({"name": picture.name, "meaning": picture.meaning, **encoded})
    return present


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _digits(value: float | None) -> str:
    return "" if value is None else digits(value)
