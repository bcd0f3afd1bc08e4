"""The training loop: K members, from their first step to their last.

Shapes: K members, P parameters, L layers, S steps since the last evaluation.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mlplab import metrics
from mlplab.schema import Number
from mlplab.training.distributed import ProcessGroup
from mlplab.training.evaluation import evaluate
from mlplab.training.history import DeviceRow, HistoryBuffer, Row
from mlplab.training.memory import retain_freed_memory
from mlplab.training.outcome import Outcome, outcomes_of
from mlplab.training.population import Population
from mlplab.training.threads import limit_threads

Listener = Callable[[Sequence[Row], tuple[str, ...]], None]
"""Called a few times per second with the rows newly read to the host, and the column names."""

Observer = Callable[[Population, int, int], None]
"""Called at every evaluation with the population, the epoch and the step.

It must copy what it keeps, since the population changes in place.
"""

READ_SECONDS = 0.2  # interval: reading synchronizes the device, and writing costs several steps


class Loop:
    """Trains a population.

    `outcomes()` may be called at any time: an interrupted run has the weights of its last
    evaluation.
    """

    def __init__(self, population: Population, listener: Listener | None = None) -> None:
        if population.theta_KP.device.type == "cpu":
            retain_freed_memory()
        self.population, self.listener = population, listener
        self.observers: list[Observer] = []
        self.num_layers = population.network.layout.num_layers
        self.membership_PL = population.network.layout.membership(
            population.theta_KP.device, population.theta_KP.dtype
        )
        self.history_buffer = HistoryBuffer(self._names(), population.num_members)
        self.ended: list[Population] = []
        self.step, self.epoch, self.batch = 0, 0, 0  # batch: batches done in this epoch
        self.lr: Number = 0.0
        self.after_step: Callable[[Loop], None] | None = None
        self.process_group: ProcessGroup | None = None  # if several processes train the network
        self.pause_epoch: int | None = None  # at this epoch `run` returns, to be called again
        self.pruned: dict[int, str] = {}  # member -> the reason for pruning it
        self.objectives: list[Tensor] = []  # of the steps since the last evaluation
        self.objective_K: Tensor | None = None  # of the last step
        self._none_diverged_K = torch.zeros(1, dtype=torch.int64)
        self._pending: list[DeviceRow] = []
        self._last_read = time.monotonic()
        self._last_steps = set(population.early_stopping.last_step_K.tolist())

    @torch.no_grad()
    def run(self) -> None:
        """Train until every member has finished, stopped or diverged, or until `pause_epoch`.

        A restored loop continues from its state.
        """
        with limit_threads(self._largest_product()):
            self._run()

    def _run(self) -> None:
        if self.step == 0 and not self.history_buffer.rows:
            self._evaluate_start()
        while (num_alive := int(self.population.early_stopping.alive_K.sum())) > 0:
            if self.batch in (0, self.population.batches.per_epoch):
                if self.pause_epoch is not None and self.epoch >= self.pause_epoch:
                    break
                self._compact(num_alive)
                self.epoch, self.batch = self.epoch + 1, 0
                self.lr = self._lr(self.population.member_time(self.epoch - 1))
            self._epoch()
        self.read()

    def _largest_product(self) -> int:
        """The multiplications of the largest matrix product with all initial members.

        Members that have left still count, so that leaving does not change the number of threads.
        """
        sizes = [entry.size for entry in self.population.network.layout.entries]
        return self.history_buffer.num_members * self.population.batches.batch_size * max(sizes)

    def set_last_steps(self, last_steps: set[int]) -> None:
        """Set the steps at which members end: they are evaluated even in the middle of an epoch."""
        self._last_steps = set(last_steps)

    def _epoch(self) -> None:
        """Train the remaining batches of the epoch."""
        population, per_epoch = self.population, self.population.batches.per_epoch
        by_step = population.schedule.unit == "step"
        for batch in population.batches.epoch(population.member_time(self.epoch), self.batch):
            self.step, self.batch = self.step + 1, self.batch + 1
            step = population.member_time(self.step, per_epoch)
            if by_step:
                self.lr = self._lr(step - 1)
            due = self.step % (per_epoch * population.training.evaluate_every) == 0
            before_KP = (
                population.theta_KP.clone() if due or self.step in self._last_steps else None
            )
            population.theta_KP, population.optimizer_state, objective_K = (
                population.optimizer.step(
                    population.theta_KP,
                    functools.partial(
                        population.objective,
                        batch=batch,
                        step=step,
                        process_group=self.process_group,
                    ),
                    population.optimizer_state,
                    step,
                    self.lr,
                )
            )
            self.objectives.append(objective_K)
            self.objective_K = objective_K
            if before_KP is not None:
                self._evaluate(before_KP, self.lr)
                if (
                    self.step in self._last_steps
                    and not self.population.early_stopping.alive_K.any()
                ):
                    return
            if self.after_step is not None:
                self.after_step(self)

    def _lr(self, t: int | Tensor) -> Number:
        population = self.population
        factor = population.schedule.factor(t, population.total_units)
        if population.schedule.stateful:
            factor = factor * population.schedule.current(population.schedule_state)
        return population.optimizer.lr * factor

    def _names(self) -> tuple[str, ...]:
        measured = "accuracy" if self.population.scoring.task.classifies else "mae rmse r2"
        splits = [
            f"{split}/{name}"
            for split in ("train", "val")
            if split in self.population.data
            for name in ["loss", *measured.split()]
        ]
        layers = range(1, self.num_layers + 1)
        return (
            *splits,
            "lr",
            "gradient_norm",
            *(f"gradient_norm/layer_{i}" for i in layers),
            *(f"update_ratio/layer_{i}" for i in layers),
        )

    def _evaluate_start(self) -> None:
        """Evaluate epoch 0: the initial weights, with the gradient of the first batch."""
        population = self.population
        batch = next(population.batches.epoch(1))
        population.objective.probe(population.theta_KP, batch, self.process_group)
        self._evaluate(population.theta_KP, self._lr(0), initial=True)

    def _evaluate(self, before_KP: Tensor, lr: Number, initial: bool = False) -> None:
        population, members = self.population, self.population.num_members
        views = population.objective.bound(population.theta_KP)
        metrics_by_name: dict[str, Tensor] = {}
        for split in ("train", "val"):
            if split in population.data:
                measured = evaluate(
                    population.network,
                    views,
                    population.buffers,
                    population.scoring,
                    population.data[split],
                    members,
                )
                metrics_by_name |= {
                    f"{split}/{name}": value_K for name, value_K in measured.items()
                }
        was_alive_K = population.early_stopping.alive_K
        value_K = self._monitored(metrics_by_name)
        step = population.member_time(self.step, population.batches.per_epoch)
        member_step = step.squeeze(1) if isinstance(step, Tensor) else step
        population.early_stopping.observe(
            value_K,
            population.theta_KP,
            population.buffers,
            member_step,
            self._first_bad(metrics_by_name, member_step),
        )
        if population.schedule.stateful and not initial:
            population.schedule_state = population.schedule.observe(
                population.schedule_state, value_K.unsqueeze(1)
            )
        values_MK = torch.stack(
            [metrics_by_name[n] for n in self.history_buffer.names if n in metrics_by_name]
        )
        squares_3KL = self._squares(before_KP)
        self._pending.append(
            DeviceRow(
                self.epoch,
                self.step,
                time.time(),
                population.members,
                was_alive_K,
                values_MK,
                squares_3KL,
                lr,
            )
        )
        if time.monotonic() - self._last_read > READ_SECONDS:
            self.read()
        for observer in self.observers:
            observer(population, self.epoch, self.step)

    def _monitored(self, metrics_by_name: dict[str, Tensor]) -> Tensor:
        """The value [K] that selects the best weights; lower is better."""
        monitor = self.population.training.monitor
        name = "loss" if monitor == "auto" else monitor
        split = "val" if "val" in self.population.data else "train"
        value_K = metrics_by_name[f"{split}/{name}"]
        return -value_K if metrics.direction(name) == "max" else value_K

    def _first_bad(self, metrics_by_name: dict[str, Tensor], step: int | Tensor) -> Tensor:
        """The first step since the last evaluation whose objective was not finite, or 0: [K].

        `step` is the current step. It counts as bad if the loss or the weights are not finite: a
        finite loss does not imply finite weights, since an activation may ignore some of them.
        """
        theta_KP = self.population.theta_KP
        loss_K = metrics_by_name["train/loss"].to(theta_KP.dtype)
        seen_SK = torch.stack([*self.objectives, loss_K])
        if seen_SK.device.type == "cpu" and math.isfinite(
            seen_SK.sum() + theta_KP.sum()
        ):  # reading is cheap on the CPU: a finite sum means that no member diverged
            self.objectives = []
            return self._none_diverged_K.expand(self.population.num_members)
        bad_SK = ~seen_SK.isfinite()
        bad_SK[-1] |= ~theta_KP.isfinite().all(1)
        step_K = torch.as_tensor(step, device=theta_KP.device)
        first_K = step_K - len(self.objectives) + 1 + bad_SK.int().argmax(0)
        self.objectives = []
        return torch.where(bad_SK.any(0), first_K.minimum(step_K).clamp_min(1), 0)

    def _squares(self, before_KP: Tensor) -> Tensor:
        """Squared norms of gradient, update and weights of each layer: [3, K, L].

        The columns derived from them are computed when the row is read.
        """
        population = self.population
        measured_3KP = torch.stack(
            [population.objective.gradient_KP, population.theta_KP - before_KP, before_KP]
        )
        return measured_3KP.square_() @ self.membership_PL

    def read(self) -> None:
        """Read the pending rows to the host and pass them to the listener."""
        if not self._pending:
            return
        rows = [pending.row() for pending in self._pending]
        self._pending, self._last_read = [], time.monotonic()
        self.history_buffer.rows += rows
        if self.listener is not None:
            self.listener(rows, self.history_buffer.names)

    def _compact(self, num_alive: int) -> None:
        """Move the ended members out once they are half: the others continue in fewer rows."""
        if num_alive <= self.population.num_members // 2:
            alive_K = self.population.early_stopping.alive_K
            self.ended.append(self.population.select((~alive_K).nonzero().squeeze(1)))
            self.population = self.population.select(alive_K.nonzero().squeeze(1))

    @torch.no_grad()
    def admit(self, new: Population, joined: Population) -> None:
        """Add members that start now, between two epochs.

        `joined` has the members in training, followed by the new ones; see `join_populations`.
        """
        assert joined.start_K is not None
        self.history_buffer.num_members += new.num_members
        self.history_buffer.per_epoch = new.batches.per_epoch
        self.history_buffer.starts = joined.start_K.tolist()
        self.population = new
        self._evaluate_start()
        self.population = joined
        self.membership_PL = joined.network.layout.membership(
            joined.theta_KP.device, joined.theta_KP.dtype
        )
        self._last_steps = set(
            (joined.early_stopping.last_step_K + joined.start_K * joined.batches.per_epoch).tolist()
        )

    def remove_ended(self) -> dict[int, Outcome]:
        """Remove the members that have ended, and return their outcomes keyed by their indices.

        The members still in training are renumbered, in order.
        """
        self.read()
        alive_K = self.population.early_stopping.alive_K
        ended = [*self.ended, self.population.select((~alive_K).nonzero().squeeze(1))]
        indices = [int(member) for population in ended for member in population.members]
        if not indices:
            return {}
        histories = dict(zip(indices, self.history_buffer.histories(indices), strict=True))
        outcomes: dict[int, Outcome] = {}
        for population in ended:
            if population.num_members:
                outcomes |= outcomes_of(population, histories, self.step, self.pruned)
        remaining = [int(member) for member in self.population.members[alive_K.cpu()]]
        self.population, self.ended, self.pruned = (
            self.population.select(alive_K.nonzero().squeeze(1)),
            [],
            {},
        )
        self.population.members = torch.arange(len(remaining))
        self.history_buffer.keep(remaining)
        return outcomes

    def outcomes(self) -> list[Outcome]:
        """Return one outcome per member, in the order of the settings."""
        self.read()
        histories = dict(enumerate(self.history_buffer.histories()))
        outcomes: dict[int, Outcome] = {}
        for population in [*self.ended, self.population]:
            outcomes |= outcomes_of(population, histories, self.step, self.pruned)
        return [outcomes[k] for k in range(self.history_buffer.num_members)]
