"""What a run writes into its folder: before it starts, with every evaluation, and when it ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mlplab.runs.provenance import provenance
from mlplab.runs.run import Preprocessing
from mlplab.settings import Settings
from mlplab.tracking import EventWriter, MetricsFile, save_weights, write_json, write_text_atomic, write_yaml
from mlplab.training.history import Row
from mlplab.training.loop import Outcome

LEVELS = ("off", "summary", "scalars", "full")


class Record:
    """The files of one run. `tracking=off` leaves the configuration, the summary and the weights; `summary` adds metrics.csv; `scalars` the event file."""

    def __init__(
        self, folder: Path, settings: Settings, preprocessing: Preprocessing, data_hash: str, names: tuple[str, ...], member: int = 0
    ) -> None:
        self.folder, self.settings, self.preprocessing, self.names, self.member = folder, settings, preprocessing, names, member
        level = LEVELS.index(settings.tracking.level)
        self.started = time.monotonic()
        write_yaml(folder / "config.yaml", settings.config)
        write_yaml(folder / "overrides.yaml", list(settings.overrides))
        write_json(folder / "provenance.json", provenance(sys.argv, data_hash))
        self.metrics = MetricsFile(folder / "metrics.csv", names) if level >= 1 else None
        self.events = EventWriter(folder) if level >= 2 else None
        if self.events is not None:
            self.events.text("configuration", "```yaml\n" + (folder / "config.yaml").read_text() + "```")

    def rows(self, rows: Sequence[Row], names: tuple[str, ...]) -> None:
        """Some evaluations, readable at once."""
        values = [row.values[:, int((row.members == self.member).argmax())].tolist() for row in rows]
        if self.metrics is not None:
            self.metrics.rows([(row.epoch, row.step, *own) for row, own in zip(rows, values, strict=True)])
        if self.events is not None:
            columns = dict(zip(names, zip(*values, strict=True), strict=True))
            self.events.history([row.step for row in rows], columns, [row.time for row in rows])

    def finish(self, outcome: Outcome, module: nn.Sequential, last: nn.Sequential, device: str, population: int) -> dict[str, Any]:
        """Weights, then the summary, whose presence means that the run has ended."""
        metadata = {"format": "mlplab-weights-1", "preprocessing": self.preprocessing.to_json()}
        tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
        save_weights(self.folder / "weights.safetensors", tensors, metadata)
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        save_weights(self.folder / "checkpoints" / "best.safetensors", tensors, metadata)
        save_weights(self.folder / "checkpoints" / "last.safetensors", {n: v.contiguous() for n, v in last.state_dict().items()}, metadata)
        if self.events is not None:
            test = {name: value for name, value in outcome.metrics.items() if name.startswith("test/")}
            self.events.scalars(outcome.steps, test)  # one point: the test part is looked at once, with the chosen weights
        summary = {
            "status": outcome.status,
            "reason": outcome.reason,
            "name": self.settings.name,
            "seed": self.settings.seed,
            "device": device,
            "epochs": outcome.epochs,
            "steps": outcome.steps,
            "best_epoch": outcome.best_epoch,
            "num_parameters": sum(p.numel() for p in module.parameters()),
            "seconds": round(time.monotonic() - self.started, 3),
            "population": population,
            "metrics": outcome.metrics,
        }
        write_json(self.folder / "summary.json", summary)
        return summary

    def fail(self, trace: str) -> None:
        """The run raised: the trace is kept, the status is `failed`."""
        write_text_atomic(self.folder / "error.txt", trace)
        write_json(self.folder / "summary.json", {"status": "failed", "name": self.settings.name, "seed": self.settings.seed,
                   "reason": trace.strip().splitlines()[-1], "seconds": round(time.monotonic() - self.started, 3), "metrics": {}})  # fmt: skip

    def close(self) -> None:
        for file in (self.metrics, self.events):
            if file is not None:
                file.close()
