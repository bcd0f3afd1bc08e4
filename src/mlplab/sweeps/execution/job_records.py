"""What is stored of jobs that trained together, whether in folders or in a pack."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.compute_time import ComputeTime
from mlplab.runs.health import findings_json
from mlplab.runs.job_record import JobRecord
from mlplab.runs.provenance import provenance
from mlplab.runs.record import summarize, summarize_failure
from mlplab.sweeps.plan.plan import Job
from mlplab.training import (
    FrameRecorder,
    Frames,
    History,
    Outcome,
    PreparedMember,
    select_frames,
)


@dataclass(frozen=True)
class EndedJob:
    """A job with its outcome. `recorder` has its frames as those of the member with this index, and
    `cpu_seconds` is its own processor time, or 0 if only that of its population is known.
    """

    job: Job
    member: PreparedMember
    outcome: Outcome
    recorder: FrameRecorder | None = None
    index: int = 0
    cpu_seconds: float = 0.0


def job_records(
    ended: Sequence[EndedJob],
    device: str,
    spent: ComputeTime,
    together: int,
    single_reason: str = "",
) -> list[JobRecord]:
    """Return what is stored of jobs that have ended, of which `together` trained together.

    `spent` is the time of training of all of `ended`, of which each gets a share in proportion to
    its own processor time, or an equal one.
    `single_reason` says why jobs train one by one.
    """
    now, shares = time.time(), _shares(ended)
    origin = provenance((), "")
    log = f"device {device}: one of {together} trained together" + (
        f", since {single_reason}" if single_reason else ""
    )
    data = {id(one.member.prepared): one.member.prepared for one in ended}
    preprocessing = {key: Preprocessing.of(prepared).to_json() for key, prepared in data.items()}
    return [
        JobRecord(
            one.job.number,
            now,
            _summary(one, spent * share, device, together),
            origin,
            log,
            "",
            one.member.prepared.data_hash,
            preprocessing[id(one.member.prepared)],
            _tracked(one),
            _frames(one),
        )
        for one, share in zip(ended, shares, strict=True)
    ]


def _summary(ended: EndedJob, spent: ComputeTime, device: str, together: int) -> dict[str, object]:
    """The summary of a job, with its diagnosis where every job is tracked in full: of thousands of
    small jobs, it would take longer than they do, and `mlplab doctor` makes it.
    """
    settings, outcome = ended.member.settings, ended.outcome
    summary = summarize(settings, outcome, outcome.theta_P.numel(), spent, device, together)
    health = findings_json(ended.member, outcome) if settings.tracking.level == "full" else []
    return {**summary, **({"health": health} if health else {})}


def _shares(ended: Sequence[EndedJob]) -> list[float]:
    """The fraction of the time of all jobs that each took."""
    if not all(one.cpu_seconds for one in ended):
        return [1 / len(ended)] * len(ended)
    total = sum(one.cpu_seconds for one in ended)
    return [one.cpu_seconds / total for one in ended]


def _tracked(ended: EndedJob) -> Outcome:
    """The outcome without a history if that is not tracked."""
    outcome = ended.outcome
    if ended.member.settings.tracking.level != "off":
        return outcome
    return dataclasses.replace(outcome, history=History.empty(outcome.history.names))


def _frames(ended: EndedJob) -> tuple[Frames, int] | None:
    if ended.recorder is None or ended.member.settings.tracking.level != "full":
        return None
    return select_frames(ended.recorder, ended.outcome, ended.index)


def failed_record(job: Job, trace: str, spent: ComputeTime) -> JobRecord:
    """Return what is stored of a job that raised."""
    summary = summarize_failure(job.settings, trace, spent)
    return JobRecord(job.number, time.time(), summary, provenance((), ""), trace=trace)
