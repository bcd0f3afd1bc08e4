"""Writes the folders of jobs: the files that each would leave as a lone run.

Shapes: K members, P parameters.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mlplab.losses import resolve_auto_loss
from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import build_structure
from mlplab.network import stacked_states
from mlplab.runs.frames_file import save_frames
from mlplab.runs.hparams import HParams
from mlplab.runs.job_record import JobRecord
from mlplab.runs.record import write_failed_member, write_member
from mlplab.settings import Settings
from mlplab.sweeps.plan.plan import Job, Plan
from mlplab.terminal.suggested import train_arguments
from mlplab.tracking import EventWriter
from mlplab.training import DataCache, Outcome
from mlplab.training.embedding import with_embedding

State = dict[str, Tensor]
Weights = tuple[Tensor, dict[str, Tensor]]
"""theta [P] of a job, and its buffers."""


class JobFolders:
    """Writes the folders of jobs that have ended, from their records.

    Work that can be shared is done once: the weights of equal structures are converted to the
    layout of nn.Sequential at once. Pictures of jobs need their data, which is in `cache` or is
    prepared again.
    """

    def __init__(
        self, plan: Plan, records: Sequence[JobRecord], cache: DataCache | None = None
    ) -> None:
        self.plan, self.cache = plan, cache or DataCache()
        self._preprocessing: dict[str, Preprocessing] = {}
        self.settings = {record.number: self._settings(record) for record in records}
        trained = [(record, record.outcome) for record in records if record.outcome is not None]
        self.best = self._states([(r, (one.theta_P, one.buffers)) for r, one in trained])
        self.last = self._states([(r, (one.last_theta_P, one.last_buffers)) for r, one in trained])

    def preprocessing(self, record: JobRecord) -> Preprocessing:
        """The preprocessing of a job that was trained."""
        text = record.preprocessing
        if text not in self._preprocessing:
            self._preprocessing[text] = Preprocessing.from_json(text)
        return self._preprocessing[text]

    def _settings(self, record: JobRecord) -> Settings:
        """The settings of a job with its loss, its engine, and the command that trains it alone."""
        job = self.plan.job(record.number)
        settings = _with_command(job.settings, self.plan, job)
        if record.outcome is None:
            return settings
        preprocessing = self.preprocessing(record)
        num_inputs = len(preprocessing.input_names)
        return dataclasses.replace(
            with_embedding(settings, preprocessing.groups, num_inputs),
            loss=resolve_auto_loss(settings.loss, preprocessing.task),
            engine=str(record.summary["engine"]),
        )

    def _states(self, weights: Sequence[tuple[JobRecord, Weights]]) -> dict[int, State]:
        """State dicts of jobs as nn.Sequential names them, by number, for each structure at once. A
        layer without dropout has no Dropout module, which shifts the names.
        """
        structures: dict[Hashable, list[tuple[JobRecord, Weights]]] = {}
        for record, of_job in weights:
            structures.setdefault(self._structure(record, of_job), []).append((record, of_job))
        states: dict[int, State] = {}
        for together in structures.values():
            first, (_, first_buffers) = together[0]
            settings = self.settings[first.number]
            network = build_structure(settings, self.preprocessing(first), settings.loss)
            theta_KP = torch.stack([theta_P for _, (theta_P, _) in together])
            buffers = {
                name: torch.stack([of_job[name] for _, (_, of_job) in together])
                for name in first_buffers
            }
            stacked = stacked_states(network.layout, network.layers, theta_KP, buffers)
            for k, (record, _) in enumerate(together):
                states[record.number] = {name: value[k] for name, value in stacked.items()}
        return states

    def _structure(self, record: JobRecord, weights: Weights) -> Hashable:
        """What jobs agree in whose weights have the same names and shapes."""
        settings, preprocessing = self.settings[record.number], self.preprocessing(record)
        layers = [
            (
                layer.units,
                type(layer.activation),
                layer.bias,
                layer.blocks,
                layer.normalization,
                not layer.dropout,
            )
            for layer in settings.layers
        ]
        outputs = settings.loss.num_outputs(preprocessing.task)
        return tuple(layers), len(preprocessing.input_names), outputs, weights[0].dtype

    def write(self, folder: Path, record: JobRecord) -> None:
        """Create the folder and write the files of a job."""
        folder.mkdir()
        settings, outcome = self.settings[record.number], record.outcome
        if outcome is None:
            write_failed_member(
                folder, settings, record.trace, record.summary, record.origin, record.ended
            )
            return
        swept = self.plan.swept_values(self.plan.job(record.number))
        hparams = HParams.of_run(settings, outcome.history.names, swept)
        write_member(
            folder,
            settings,
            record.data_hash,
            record.preprocessing,
            outcome,
            self.best[record.number],
            self.last[record.number],
            record.summary,
            dataclasses.replace(hparams, choices=self.plan.cell_choices),
            record.log,
            record.origin,
            record.ended,
            self._draw(folder, record, outcome),
        )

    def _draw(
        self, folder: Path, record: JobRecord, outcome: Outcome
    ) -> Callable[[EventWriter], None] | None:
        """Save the frames of a job, if it has some, and return a function that draws its pictures.
        It draws only if the user chose `tracking=full`, since drawing takes a second per job;
        `mlplab report` draws them later.
        """
        if record.frames is None:
            return None
        save_frames(folder, *record.frames)
        frames, best_frame = record.frames
        settings, job = self.settings[record.number], self.plan.job(record.number)

        def draw(events: EventWriter) -> None:
            if "tracking=full" not in settings.overrides:
                return
            from mlplab.pictures.rendering.final_figures import FinalFigures, write_chart_layout
            from mlplab.pictures.study import Study

            log = logging.getLogger("mlplab.sweeps")
            write_chart_layout(events, outcome.history.names, log)
            prepared = self.cache.prepared(job.settings)
            FinalFigures(folder, events, log).draw(
                Study(settings, prepared, frames, best_frame, outcome.history), quiet=True
            )

        return draw


def _with_command(settings: Settings, plan: Plan, job: Job) -> Settings:
    """The settings of a job with the command line that trains it alone."""
    command = train_arguments(job.overrides, plan.flags)
    return dataclasses.replace(settings, command=command)
