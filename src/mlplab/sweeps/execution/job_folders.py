"""The folders of a population's members: what each would have left if it had run alone.

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
from mlplab.model.structure import build_structure, layers_with_output
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
from mlplab.sweeps.plan.plan import Job, Plan, value_of
from mlplab.tracking import EventWriter
from mlplab.training import FrameRecorder, Outcome, PreparedMember, select_frames

State = dict[str, Tensor]


class JobFolders:
    """Writes what K members left. What can be paid once a population is: the weights of all are
    brought into nn.Sequential's form at once.
    """

    def __init__(
        self,
        plan: Plan,
        members: Sequence[PreparedMember],
        outcomes: Sequence[Outcome],
        device: str,
        seconds: float,
        alone: str = "",
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
            f", since {alone}" if alone else ""
        )
        self.keys = [key for key in plan.keys if key != "experiment"]
        self.choices = self._choices()
        self.preprocessing: dict[int, Preprocessing] = {}
        for member in members:
            if id(member.prepared) not in self.preprocessing:
                self.preprocessing[id(member.prepared)] = Preprocessing.of(member.prepared)
        self.json = {
            key: preprocessing.to_json() for key, preprocessing in self.preprocessing.items()
        }
        self.best = self._states([o.theta_P for o in outcomes], [o.buffers for o in outcomes])
        self.last = self._states(
            [o.last_theta_P for o in outcomes], [o.last_buffers for o in outcomes]
        )

    def _swept(self, job: Job) -> dict[str, object]:
        return {key: value_of(job, key) for key in self.keys}

    def _choices(self) -> dict[str, list[object]]:
        """What each column of the HParams table holds in this sweep."""
        found: dict[str, dict[object, None]] = {}
        for job in self.plan.jobs:
            for key, value in HParams.of_run(job.settings, (), self._swept(job)).values.items():
                found.setdefault(key, {})[value] = None
        return {key: list(values) for key, values in found.items()}

    def _states(self, theta: Sequence[Tensor], buffers: Sequence[dict[str, Tensor]]) -> list[State]:
        """The weights as nn.Sequential names them, a member at a time. A layer that never drops has
        no Dropout module, which shifts the names.
        """
        patterns: dict[tuple[bool, ...], list[int]] = {}
        for k, member in enumerate(self.members):
            patterns.setdefault(
                tuple(bool(layer.dropout == 0) for layer in member.settings.layers), []
            ).append(k)
        found: list[State] = [{}] * len(theta)
        for rows in patterns.values():
            settings, preprocessing = (
                self.members[rows[0]].settings,
                self.preprocessing[id(self.members[rows[0]].prepared)],
            )
            layers = layers_with_output(settings, preprocessing, settings.loss)
            stacked = {
                name: torch.stack([buffers[k][name] for k in rows]) for name in buffers[rows[0]]
            }
            layout = build_structure(settings, preprocessing, settings.loss).layout
            states = stacked_states(layout, layers, torch.stack([theta[k] for k in rows]), stacked)
            for i, k in enumerate(rows):
                found[k] = {name: value[i] for name, value in states.items()}
        return found

    def write(self, folder: Path, job: Job, k: int) -> None:
        """Fill the folder of member k."""
        folder.mkdir()
        settings, outcome = self.members[k].settings, self.outcomes[k]
        hparams = dataclasses.replace(
            HParams.of_run(settings, outcome.history.names, self._swept(job)), choices=self.choices
        )
        data = self.members[k].prepared
        num_parameters = outcome.theta_P.numel()
        summary = summarize(
            settings, outcome, num_parameters, self.seconds, self.device, len(self.members)
        )
        draw = (
            self._draw(folder, k)
            if self.recorder is not None and settings.tracking.level == "full"
            else None
        )
        write_member(
            folder,
            settings,
            data.data_hash,
            self.json[id(data)],
            outcome,
            self.best[k],
            self.last[k],
            summary,
            hparams,
            self.log,
            draw,
        )

    def _draw(self, folder: Path, k: int) -> Callable[[EventWriter], None]:
        """The frames of a member; its pictures only where `tracking=full` was typed, since they
        cost a second a job: `mlplab report` draws them later.
        """
        member, outcome = self.members[k], self.outcomes[k]
        assert self.recorder is not None
        frames, chosen = select_frames(self.recorder, outcome, k)
        save_frames(folder, frames, chosen)

        def draw(events: EventWriter) -> None:
            if "tracking=full" not in member.settings.overrides:
                return
            from mlplab.pictures.rendering.final_figures import FinalFigures, write_chart_layout
            from mlplab.pictures.study import Study

            log = logging.getLogger("mlplab.sweeps")
            write_chart_layout(events, outcome.history.names, log)
            FinalFigures(folder, events, log).draw(
                Study(member.settings, member.prepared, frames, chosen, outcome.history), quiet=True
            )

        return draw


def write_failed(folder: Path, job: Job, trace: str, seconds: float) -> None:
    """The folder of a job that raised."""
    folder.mkdir()
    write_config_and_provenance(folder, job.settings, "")
    write_log(folder, f"failed: {trace.strip().splitlines()[-1]}")
    write_failure(folder, job.settings, trace, seconds)
