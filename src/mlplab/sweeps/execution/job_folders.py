"""Writes the folders of jobs that trained together: the files that each would leave as a lone run.

Shapes: K members, P parameters.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mlplab.model.preprocessing import Preprocessing
from mlplab.model.structure import build_structure
from mlplab.network import stacked_states
from mlplab.runs.compute_time import ComputeTime
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
from mlplab.sweeps.plan.plan import Job, Plan
from mlplab.terminal.suggested import train_arguments
from mlplab.tracking import EventWriter
from mlplab.training import FrameRecorder, Outcome, PreparedMember, select_frames, structure_key

State = dict[str, Tensor]


@dataclass(frozen=True)
class EndedJob:
    """A job with its outcome. `recorder` has its frames as those of the member with this index."""

    job: Job
    member: PreparedMember
    outcome: Outcome
    recorder: FrameRecorder | None = None
    index: int = 0


class JobFolders:
    """Writes the folders of jobs that have ended, of which `together` trained together.

    `spent` is the time of training of all of `ended`. Work that can be shared is done once: the
    weights of equal structures are converted to the layout of nn.Sequential at once.
    """

    def __init__(
        self,
        plan: Plan,
        ended: Sequence[EndedJob],
        device: str,
        spent: ComputeTime,
        together: int,
        single_reason: str = "",
    ) -> None:
        self.plan, self.device, self.together = plan, device, together
        self.spent = spent / len(ended)
        self.log = f"device {device}: one of {together} trained together" + (
            f", since {single_reason}" if single_reason else ""
        )
        data = {id(one.member.prepared): one.member.prepared for one in ended}
        self.preprocessing = {key: Preprocessing.of(prepared) for key, prepared in data.items()}
        self.preprocessing_json = {
            key: preprocessing.to_json() for key, preprocessing in self.preprocessing.items()
        }
        weights = [(one.outcome.theta_P, one.outcome.buffers) for one in ended]
        last = [(one.outcome.last_theta_P, one.outcome.last_buffers) for one in ended]
        numbers = [one.job.number for one in ended]
        self.best = dict(zip(numbers, self._states(ended, weights), strict=True))
        self.last = dict(zip(numbers, self._states(ended, last), strict=True))

    def _states(
        self, ended: Sequence[EndedJob], weights: Sequence[tuple[Tensor, dict[str, Tensor]]]
    ) -> list[State]:
        """State dicts of the members as nn.Sequential names them, for each structure at once. A
        layer without dropout has no Dropout module, which shifts the names.
        """
        structures: dict[object, list[int]] = {}
        for k, one in enumerate(ended):
            key = structure_key(one.member.settings, one.member.prepared)
            pattern = tuple(bool(layer.dropout == 0) for layer in one.member.settings.layers)
            structures.setdefault((key, pattern), []).append(k)
        state_dicts: list[State] = [{}] * len(ended)
        for rows in structures.values():
            member = ended[rows[0]].member
            network = build_structure(
                member.settings, self.preprocessing[id(member.prepared)], member.settings.loss
            )
            theta_KP = torch.stack([weights[k][0] for k in rows])
            buffers = {
                name: torch.stack([weights[k][1][name] for k in rows])
                for name in weights[rows[0]][1]
            }
            states = stacked_states(network.layout, network.layers, theta_KP, buffers)
            for i, k in enumerate(rows):
                state_dicts[k] = {name: value[i] for name, value in states.items()}
        return state_dicts

    def write(self, folder: Path, ended: EndedJob) -> None:
        """Create the folder and write the files of a job."""
        folder.mkdir()
        job, member, outcome = ended.job, ended.member, ended.outcome
        settings, prepared = _with_command(member.settings, self.plan, job), member.prepared
        hparams = HParams.of_run(settings, outcome.history.names, self.plan.swept_values(job))
        is_drawn = ended.recorder is not None and settings.tracking.level == "full"
        write_member(
            folder,
            settings,
            prepared.data_hash,
            self.preprocessing_json[id(prepared)],
            outcome,
            self.best[job.number],
            self.last[job.number],
            summarize(
                settings,
                outcome,
                outcome.theta_P.numel(),
                self.spent,
                self.device,
                self.together,
            ),
            dataclasses.replace(hparams, choices=self.plan.cell_choices),
            self.log,
            _draw(folder, ended) if is_drawn else None,
        )


def _draw(folder: Path, ended: EndedJob) -> Callable[[EventWriter], None]:
    """Save the frames of a job and return a function that draws its pictures. It draws only if the
    user chose `tracking=full`, since drawing takes a second per job; `mlplab report` draws them
    later.
    """
    member, outcome = ended.member, ended.outcome
    assert ended.recorder is not None
    frames, best_frame = select_frames(ended.recorder, outcome, ended.index)
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


def write_failed(folder: Path, plan: Plan, job: Job, trace: str, spent: ComputeTime) -> None:
    """Create the folder of a job that raised, with its traceback."""
    folder.mkdir()
    write_config_and_provenance(folder, _with_command(job.settings, plan, job), "")
    write_log(folder, f"failed: {trace.strip().splitlines()[-1]}")
    write_failure(folder, job.settings, trace, spent)
