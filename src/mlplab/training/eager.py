"""The eager stepper: all members take each step together, with autograd.

Shapes: K members, P parameters, L layers, S steps since the last regular evaluation.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mlplab.schema import Number
from mlplab.training.batches import Batch
from mlplab.training.distributed import ProcessGroup
from mlplab.training.evaluation import monitored
from mlplab.training.history import DeviceRow
from mlplab.training.population import Population
from mlplab.training.steppers import Group, Hooks, Report, Stepper
from mlplab.training.threads import limit_threads


class EagerStepper(Stepper):
    """Trains a group with one clock; with a `process_group`, together with other processes.

    A member is evaluated at the steps of its lone run: when it ends between two regular
    evaluations, the others are not.
    """

    engine: ClassVar[str] = "eager"

    def __init__(self, group: Group, process_group: ProcessGroup | None = None) -> None:
        super().__init__(group)
        self.process_group = process_group
        population = group.population
        self.step, self.epoch, self.batch = 0, 0, 0  # batch: batches done in this epoch
        self.lr: Number = 0.0
        self.objectives: list[Tensor] = []  # of the steps since the last regular evaluation
        self._membership_PL = population.network.layout.membership(
            population.theta_KP.device, population.theta_KP.dtype
        )
        self._none_diverged_K = torch.zeros(1, dtype=torch.int64)

    def start(self, report: Report) -> None:
        """Evaluate epoch 0: the initial weights, with the gradient of the first batch."""
        population = self.group.population
        batch = next(population.batches.epoch(1))
        population.objective.probe(population.theta_KP, batch, self.process_group)
        self._evaluate(population.theta_KP, self._lr(0), report, initial=True)

    def run(self, hooks: Hooks, should_stop: Callable[[], bool]) -> None:
        """Train until the members have ended or the first is at a pause.

        `should_stop` is asked where `hooks.should_pause` is.
        """
        finished = False
        with limit_threads(self.group.largest_product):
            if not self.group.started:
                self.start(hooks.report)
            while not finished and not should_stop():
                finished = self.advance(hooks.pauses(), hooks.report, hooks.should_pause)
                (hooks.on_end if finished else hooks.on_pause)()

    def advance(
        self, pauses: Mapping[int, int], report: Report, should_pause: Callable[[], bool]
    ) -> bool:
        """Train until all members have ended, or one has completed its epochs in `pauses`.

        `pauses` has epochs since the member's start, by its index. Returns False if it returned
        because of `should_pause`, which it polls between two steps.
        """
        group, starts = self.group, self.group.starts
        pause_epoch = min((starts[index] + pauses[index] for index in pauses), default=math.inf)
        last_steps = {
            step for population in (*group.ended, group.population) for step in _ends(population)
        }
        while (num_alive := int(group.population.early_stopping.alive_K.sum())) > 0:
            if self._between_epochs:
                if self.epoch >= pause_epoch:
                    break
                group.compact(num_alive)
                self.epoch, self.batch = self.epoch + 1, 0
                self.lr = self._lr(group.population.member_time(self.epoch - 1))
            if not self._epoch(last_steps, report, should_pause):
                return False
        return True

    @property
    def _between_epochs(self) -> bool:
        return self.batch in (0, self.group.population.batches.per_epoch)

    def _epoch(
        self, last_steps: set[int], report: Report, should_pause: Callable[[], bool]
    ) -> bool:
        """Train the remaining batches of the epoch; return False after a pause."""
        population = self.group.population
        every = population.batches.per_epoch * population.training.evaluate_every
        for batch in population.batches.epoch(population.member_time(self.epoch), self.batch):
            is_last, is_regular = self.step + 1 in last_steps, (self.step + 1) % every == 0
            before_KP = population.theta_KP.clone() if is_last or is_regular else None
            self.update(batch)
            if before_KP is not None:
                if is_regular:
                    self._evaluate(before_KP, self.lr, report)
                else:
                    self._evaluate_ends(before_KP, report)
                if is_last and not self.group.in_training:
                    break
            if should_pause():
                return False
        return True

    def update(self, batch: Batch) -> None:
        """Take one step on this batch."""
        population = self.group.population
        self.step, self.batch = self.step + 1, self.batch + 1
        step = population.member_time(self.step, population.batches.per_epoch)
        if population.schedule.unit == "step":
            self.lr = self._lr(step - 1)
        gradient_at = functools.partial(
            population.objective, batch=batch, step=step, process_group=self.process_group
        )
        population.theta_KP, population.optimizer_state, objective_K = population.optimizer.step(
            population.theta_KP,
            gradient_at,
            population.optimizer_state,
            step,
            self.lr if population.lr_factors is None else self.lr * population.lr_factors,
        )
        self.objectives.append(objective_K)
        if population.averaging is not None:
            population.averaging.update(population.theta_KP, step)

    def _lr(self, t: int | Tensor) -> Number:
        population = self.group.population
        factor = population.schedule.factor(t, population.total_units)
        if population.schedule.stateful:
            factor = factor * population.schedule.current(population.schedule_state)
        return population.optimizer.lr * factor

    def _time(self) -> int | Tensor:
        """The steps since the start of each member: int64 [K], or an int for all."""
        population = self.group.population
        step = population.member_time(self.step, population.batches.per_epoch)
        return step.squeeze(1) if isinstance(step, Tensor) else step

    def _evaluate_ends(self, before_KP: Tensor, report: Report) -> None:
        """Evaluate the members that end at this step, which no regular evaluation follows."""
        early_stopping = self.group.population.early_stopping
        ending_K = early_stopping.alive_K & early_stopping.ends_at(self._time())
        if ending_K.any():
            self._evaluate(before_KP, self.lr, report, ending_K)

    def _evaluate(
        self,
        before_KP: Tensor,
        lr: Number,
        report: Report,
        ending_K: Tensor | None = None,
        initial: bool = False,
    ) -> None:
        """Evaluate the members that end here (bool), or all that are in training."""
        group, population = self.group, self.group.population
        measured = population.evaluate()
        was_alive_K = population.early_stopping.alive_K
        value_K, step = monitored(population.training.monitor, measured), self._time()
        population.early_stopping.observe(
            value_K,
            population.evaluated_KP,
            population.buffers,
            step,
            self._first_bad(self.objectives, measured["train/loss"], step),
            ending_K,
        )
        row = DeviceRow(
            self.epoch,
            self.step,
            time.time(),
            population.members,
            was_alive_K,
            torch.stack(
                [measured[name] for name in group.history_buffer.names if name in measured]
            ),
            self._squares(before_KP),
            lr,
        )
        objectives = list(self.objectives)
        if ending_K is None:
            self.objectives = []
            if population.schedule.stateful and not initial:
                population.schedule_state = population.schedule.observe(
                    population.schedule_state, value_K.unsqueeze(1)
                )
        report(row.select(ending_K), population, objectives)

    def _first_bad(
        self, objectives: Sequence[Tensor], loss_K: Tensor, step: int | Tensor
    ) -> Tensor:
        """The first step of `objectives` at which a member's was not finite, or 0: [K].

        `step` is the current step. It counts as bad if the loss or the weights are not finite: a
        finite loss does not imply finite weights, since an activation may ignore some of them.
        """
        theta_KP = self.group.population.theta_KP
        seen_SK = torch.stack([*objectives, loss_K.to(theta_KP.dtype)])
        if seen_SK.device.type == "cpu" and math.isfinite(
            seen_SK.sum() + theta_KP.sum()
        ):  # reading is cheap on the CPU: a finite sum means that no member diverged
            return self._none_diverged_K.expand(len(theta_KP))
        bad_SK = ~seen_SK.isfinite()
        bad_SK[-1] |= ~theta_KP.isfinite().all(1)
        step_K = torch.as_tensor(step, device=theta_KP.device)
        first_K = step_K - len(objectives) + 1 + bad_SK.int().argmax(0)
        return torch.where(bad_SK.any(0), first_K.minimum(step_K).clamp_min(1), 0)

    def _squares(self, before_KP: Tensor) -> Tensor:
        """Squared norms of gradient, update and weights of each layer: [3, K, L].

        The columns derived from them are computed when the row is read.
        """
        population = self.group.population
        measured_3KP = torch.stack(
            [population.objective.gradient_KP, population.theta_KP - before_KP, before_KP]
        )
        return measured_3KP.square_() @ self._membership_PL

    def completed_epochs(self, index: int) -> int:
        return self.epoch - self.group.starts[index] - (0 if self._between_epochs else 1)

    def is_evaluated(self, index: int) -> bool:
        return self.group.started and self._between_epochs and not self.objectives

    def select(self, rows: Tensor) -> None:
        rows = rows.to(self.group.population.theta_KP.device)
        self.objectives = [objective_K[rows] for objective_K in self.objectives]
        if isinstance(self.lr, Tensor):
            self.lr = self.lr[rows]

    def state(self) -> dict[str, object]:
        return {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "lr": self.lr,
            "objectives": list(self.objectives),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        device = self.group.population.theta_KP.device
        self.step, self.epoch, self.batch = (int(state[key]) for key in ("step", "epoch", "batch"))
        self.lr, *self.objectives = (
            value.to(device, copy=True) if isinstance(value, Tensor) else value
            for value in (state["lr"], *state["objectives"])
        )


def _ends(population: Population) -> list[int]:
    """The steps of the group's clock at which members end: evaluated even within an epoch."""
    end_K, per_epoch = population.early_stopping.last_step_K, population.batches.per_epoch
    if population.start_K is not None:
        end_K = end_K + population.start_K * per_epoch
    return end_K.tolist()
