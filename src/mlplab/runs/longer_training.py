"""What to try after a training that ended at its best epoch."""

from __future__ import annotations

from mlplab.data.tabular.table_options import TabularDataset
from mlplab.network.layer import hidden_widths
from mlplab.runs.checkpoints import steps
from mlplab.runs.run import Run
from mlplab.terminal.suggested import rerun_command, resume_command

MIN_EPOCHS = 10
"""Epochs below which a training is a trial, whose best epoch is the last one in any case."""


def longer_lines(run: Run) -> list[str]:
    """Return what to try if a training on the user's table ended at its best epoch on the val
    split, with commands; empty for any other run.
    """
    settings, summary = run.settings, run.summary
    last = summary.get("epochs")
    if (
        summary.get("status") != "done"
        or summary.get("time_limited")
        or not isinstance(settings.dataset, TabularDataset)
        or not isinstance(last, int)
        or last < MIN_EPOCHS
        or summary.get("best_epoch") != last
        or "val/loss" not in run.history
    ):
        return []
    training = settings.training
    key, length = ("epochs", last) if training.steps is None else ("steps", training.steps)
    longer = [f"training.{key}={2 * int(length)}"]
    continues = bool(steps(run.folder / "checkpoints"))
    command = resume_command(run.folder) if continues else rerun_command(run.folder)
    lines = [
        "The best epoch is the last one: a longer training may be better."
        f" Try: {command} {' '.join(longer)}"
    ]
    if widths := hidden_widths(settings.layers):
        wider = f"model.hidden={'-'.join(str(2 * width) for width in widths)}"
        lines.append(f"Or a wider network: {rerun_command(run.folder, [wider])}")
    return lines
