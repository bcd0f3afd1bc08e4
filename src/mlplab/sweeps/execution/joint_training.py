"""Trains jobs of a work unit in one session: saves its groups, and passes on the jobs that end.

A group that has ended is passed on while others train, so that a kill costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlplab.errors import CheckpointError
from mlplab.runs.checkpoint_callback import CheckpointCallback, SignalSource
from mlplab.runs.checkpoints import Checkpoints, Saved
from mlplab.runs.compute_time import ComputeTime, Stopwatch
from mlplab.runs.fingerprint import fingerprint_of_group
from mlplab.runs.signals import Interrupted
from mlplab.sweeps.execution.job_records import EndedJob
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import SessionProgress, SweepProgress
from mlplab.sweeps.plan.plan import Job
from mlplab.terminal.output import note
from mlplab.training import (
    Callback,
    FrameRecorders,
    Group,
    PreparedMember,
    Row,
    Session,
)
from mlplab.training.time_limit import TimeLimit

Members = Sequence[tuple[Job, PreparedMember]]


class JointTraining(Callback):
    """Trains jobs together. `pass_on` is called with jobs that have ended, their device, and the
    time since the last call; with callbacks of the user only after `on_end`.
    """

    def __init__(
        self,
        job_store: JobStore,
        unit: int,
        signals: SignalSource,
        display: SweepProgress,
        callbacks: Sequence[Callback],
        pass_on: Callable[[Sequence[EndedJob], str, ComputeTime], None],
    ) -> None:
        self.job_store, self.unit, self.signals, self.pass_on = job_store, unit, signals, pass_on
        self.callbacks = callbacks
        self.session = Session(fixed=True)
        self.progress = SessionProgress(display)
        self.time_limit = TimeLimit()
        self.recorders: FrameRecorders | None = None
        self._jobs: dict[int, tuple[Job, PreparedMember]] = {}  # by number in the session
        self._savers: dict[Group, CheckpointCallback] = {}
        self._ended: list[Group] = []
        self._stopwatch = Stopwatch()  # since jobs were passed on

    def add(self, members: Members) -> None:
        """Add jobs that train from their start."""
        self._register(self.session.add([member for _, member in members]), members)

    def restore(self, members: Members, saved: Saved) -> None:
        """Add the jobs of a saved group. Raises CheckpointError or StateError."""
        group = self.session.add_group([member for _, member in members])
        self._register(group.numbers, members)
        saver = self._saver(group)
        if saved.manifest["data_hash"] != members[0][1].prepared.data_hash:
            raise CheckpointError(
                f"The data of job {members[0][0].number} has changed since the checkpoint was"
                " saved. The job is trained again from its start."
            )
        saver.restore(group, saved)
        self._stopwatch.include(saver.elapsed_before)
        self.time_limit.include(group, saver.elapsed_before.wall)
        note(f"{len(members)} jobs resume at step {saved.step}")

    def _register(self, numbers: Sequence[int], members: Members) -> None:
        self._jobs |= dict(zip(numbers, members, strict=True))
        if any(member.settings.tracking.level == "full" for _, member in members):
            self.recorders = self.recorders or FrameRecorders()

    def run(self) -> None:
        """Train until all jobs have ended. Raises Interrupted after a signal."""
        recorders = [self.recorders] if self.recorders is not None else []
        self.session.callbacks += [self.progress, *recorders, self, *self.callbacks]
        if any(member.settings.training.seconds_limit for _, member in self._jobs.values()):
            self.session.callbacks.append(self.time_limit)
        try:
            interrupted = self._train()
            if interrupted:  # members that have ended are passed on, also of groups in training
                self._ended = list(self.session.groups)
            self._pass_on()
        finally:
            for saver in self._savers.values():
                saver.close()
        if interrupted:
            raise Interrupted(self.signals.received or 2)

    def _train(self) -> bool:
        """Train until the end; return whether a signal interrupted it."""
        try:
            self.session.run()
        except KeyboardInterrupt:
            return True
        return False

    def forget(self) -> None:
        """Remove all checkpoints of these jobs."""
        for group in list(self._savers):
            self._forget(group)

    def _forget(self, group: Group) -> None:
        saver = self._savers.pop(group, None)
        if saver is not None and saver.checkpoints is not None:
            saver.close()
            self.job_store.forget(saver.checkpoints.folder)

    def _saver(self, group: Group) -> CheckpointCallback:
        """The callback that saves a group. Creates no files before the first checkpoint."""
        if group not in self._savers:
            members = [self._jobs[number] for number in group.numbers]
            _, first = members[0]
            identity = {
                "jobs": {str(job.number): job.hash for job, _ in members},
                "data_hash": first.prepared.data_hash,
                "fingerprint": fingerprint_of_group(group, len(members)),
            }
            folder = self.job_store.checkpoints(self.unit, [job.number for job, _ in members])
            self._savers[group] = CheckpointCallback(
                Checkpoints(folder, identity, self.job_store.folder),
                first.settings.tracking,
                self.signals,
                self.recorders.of(group) if self.recorders is not None else None,
            )
        return self._savers[group]

    def should_pause(self, session: Session, group: Group) -> bool:
        return self._saver(group).should_pause(session, group)

    def next_pause(self, session: Session, group: Group, index: int, epoch: int) -> int | None:
        return self._saver(group).next_pause(session, group, index, epoch)

    def on_pause(self, session: Session, group: Group) -> None:
        """Save the group if it is due; after a signal save all groups that have begun."""
        if self.signals.received is not None:
            for other in session.groups:
                if other.started and other.in_training:
                    self._saver(other).save(session, other)
        self._saver(group).on_pause(session, group)

    def on_group_end(self, session: Session, group: Group) -> None:
        self._ended.append(group)

    def on_rows(self, session: Session, group: Group, rows: Sequence[Row]) -> None:
        is_due = self._stopwatch.elapsed.wall > self.job_store.max_wait
        if self._ended and is_due and not self.callbacks:
            self._pass_on()

    def _save_ended(self, group: Group) -> None:
        """Save a population of the eager engine that has ended: if killed while folders are
        written, the remaining ones come from the same population and are bit-identical. Callbacks
        of the user may count on this checkpoint.
        """
        is_needed = group.stepper.engine == "eager" or self.callbacks
        if is_needed and len(group.numbers) > 1 and not group.in_training:
            self._saver(group).save(self.session, group)

    def _pass_on(self) -> None:
        groups, self._ended = self._ended, []
        for group in groups:
            self._save_ended(group)
        indices = {
            number: (group, index) for group in groups for number, index in group.indices.items()
        }
        outcomes = self.session.remove_ended(*groups)
        if not outcomes:
            return
        ended = []
        for number, outcome in sorted(outcomes.items()):
            group, index = indices[number]
            recorder = self.recorders.of(group) if self.recorders is not None else None
            job, member = self._jobs.pop(number)
            seconds = group.seconds.get(index, 0.0)
            ended.append(EndedJob(job, member, outcome, recorder, index, seconds))
        finished = [group for group in groups if not group.numbers]
        for group in finished:
            self.progress.discard(group)
        device = str(groups[0].population.theta_KP.device)
        self.pass_on(ended, device, self._stopwatch.lap())
        self._stopwatch.lap()  # writing the folders is no training
        for group in finished:
            self._forget(group)
            if self.recorders is not None:
                self.recorders.discard(group)
