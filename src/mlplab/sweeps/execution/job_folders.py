"""Writes the job folders of a population: the files that each member would leave as a single run.

Shapes: K members, P parameters.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import build_structure
from mlplab.network import stacked_states
from mlplab.runs.frames_file import save_frames
from mlplab.runs.hparams import HParams
from mlplab.runs.record import (
    summarize,
    write_config_and_provenance,
    write_failure,
    write_log,
    write_member,
)
from mlplab.settings import Settings
from mlplab.sweeps.plan.plan import Job, Plan, value_of
from mlplab.terminal.suggested import train_arguments
from mlplab.tracking import EventWriter
from mlplab.training import FrameRecorder, Outcome, PreparedMember, select_frames

State = dict[str, Tensor]


class JobFolders:
    """Writes the job folders of K members. Work that can be shared is done once per population: all
    weights are converted to the layout of nn.Sequential at once.
    """

    def __init__(
        self,
        plan: Plan,
        members: Sequence[PreparedMember],
        outcomes: Sequence[Outcome],
        device: str,
        seconds: float,
        single_reason: str = "",
        recorder: FrameRecorder | None = None,
    ) -> None:
        self.plan, self.members, self.outcomes, self.device, self.seconds, self.recorder = (
            plan,
            members,
            outcomes,
            device,
            seconds,
            recorder,
        )
        self.log = f"device {device}: one of {len(members)} trained together" + (
            f", since {single_reason}" if single_reason else ""
        )
        self.keys = [key for key in plan.keys if key != "experiment"]
        self.choices = self._choices()
        data = {id(member.prepared): member.prepared for member in members}
        self.preprocessing = {key: Preprocessing.of(prepared) for key, prepared in data.items()}
        self.preprocessing_json = {
            key: preprocessing.to_json() for key, preprocessing in self.preprocessing.items()
        }
        self.best = self._states([o.theta_P for o in outcomes], [o.buffers for o in outcomes])
        self.last = self._states(
            [o.last_theta_P for o in outcomes], [o.last_buffers for o in outcomes]
        )

    def _swept(self, job: Job) -> dict[str, object]:
        return {key: value_of(job, key) for key in self.keys}

    def _choices(self) -> dict[str, list[object]]:
        """The distinct values of each HParams column in this sweep, in the order of the jobs."""
        rows = [HParams.of_run(job.settings, (), self._swept(job)).values for job in self.plan.jobs]
        keys = dict.fromkeys(key for row in rows for key in row)
        return {key: list(dict.fromkeys(row[key] for row in rows if key in row)) for key in keys}

    def _states(self, theta: Sequence[Tensor], buffers: Sequence[dict[str, Tensor]]) -> list[State]:
        """State dicts of the members as nn.Sequential names them. A layer without dropout has no
        Dropout module, which shifts the names, so members are grouped by that pattern.
        """
        patterns: dict[tuple[bool, ...], list[int]] = {}
        for k, member in enumerate(self.members):
            patterns.setdefault(
                tuple(bool(layer.dropout == 0) for layer in member.settings.layers), []
            ).append(k)
        state_dicts: list[State] = [{}] * len(theta)
        for rows in patterns.values():
            settings, preprocessing = (
                self.members[rows[0]].settings,
                self.preprocessing[id(self.members[rows[0]].prepared)],
            )
            stacked = {
                name: torch.stack([buffers[k][name] for k in rows]) for name in buffers[rows[0]]
            }
            network = build_structure(settings, preprocessing, settings.loss)
            theta_KP = torch.stack([theta[k] for k in rows])
            states = stacked_states(network.layout, network.layers, theta_KP, stacked)
            for i, k in enumerate(rows):
                state_dicts[k] = {name: value[i] for name, value in states.items()}
        return state_dicts

    def write(self, folder: Path, job: Job, k: int) -> None:
        """Create the folder and write the files of member k."""
        folder.mkdir()
        member, outcome = self.members[k], self.outcomes[k]
        settings, prepared = _with_command(member.settings, self.plan, job), member.prepared
        hparams = HParams.of_run(settings, outcome.history.names, self._swept(job))
        is_drawn = self.recorder is not None and settings.tracking.level == "full"
        write_member(
            folder,
            settings,
            prepared.data_hash,
            self.preprocessing_json[id(prepared)],
            outcome,
            self.best[k],
            self.last[k],
            summarize(
                settings,
                outcome,
                outcome.theta_P.numel(),
                self.seconds,
                self.device,
                len(self.members),
            ),
            dataclasses.replace(hparams, choices=self.choices),
            self.log,
            self._draw(folder, k) if is_drawn else None,
        )

    def _draw(self, folder: Path, k: int) -> Callable[[EventWriter], None]:
        """Save the frames of a member and return a function that draws its pictures. It draws only
        if the user chose `tracking=full`, since drawing takes a second per job; `mlplab report`
        draws them later.
        """
        member, outcome = self.members[k], self.outcomes[k]
        assert self.recorder is not None
        frames, best_frame = select_frames(self.recorder, outcome, k)
        save_frames(folder, frames, best_frame)

        def draw(events: EventWriter) -> None:
            if "tracking=full" not in member.settings.overrides:
                return
            from mlplab.pictures.rendering.final_figures import FinalFigures, write_chart_layout
            from mlplab.pictures.study import Study

            log = logging.getLogger("mlplab.sweeps")
            write_chart_layout(events, outcome.history.names, log)
            FinalFigures(folder, events, log).draw(
                Study(member.settings, member.prepared, frames, best_frame, outcome.history),
                quiet=True,
            )

        return draw


def _with_command(settings: Settings, plan: Plan, job: Job) -> Settings:
    """The settings of a job with the command line that trains it alone."""
    command = train_arguments(job.overrides, plan.flags)
    return dataclasses.replace(settings, command=command)


def write_failed(folder: Path, plan: Plan, job: Job, trace: str, seconds: float) -> None:
    """Create the folder of a job that raised, with its traceback."""
    folder.mkdir()
    write_config_and_provenance(folder, _with_command(job.settings, plan, job), "")
    write_log(folder, f"failed: {trace.strip().splitlines()[-1]}")
    write_failure(folder, job.settings, trace, seconds)
