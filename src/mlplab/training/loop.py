"""The one training loop: K members, from their first step to their last.

Shapes: K members, P parameters, L layers, S steps since the last evaluation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mlplab import metrics
from mlplab.schema import Number
from mlplab.training.distributed import Batch, ProcessGroup
from mlplab.training.evaluation import evaluate
from mlplab.training.history import DeviceRow, HistoryBuffer, Row
from mlplab.training.memory import keep_freed
from mlplab.training.outcome import Outcome, outcomes_of
from mlplab.training.population import Population
from mlplab.training.threads import suited

Listener = Callable[[Sequence[Row], tuple[str, ...]], None]
"""Called a few times a second with the rows that have become known on the host."""

Observer = Callable[[Population, int, int], None]
"""Called at every evaluation with the population, the epoch and the step, to look and copy: what it
sees goes on changing.
"""

READ_EVERY = 0.2  # seconds: reading makes a device wait, and writing costs as much as some steps


class Loop:
    """Trains a population. `outcomes()` may be asked for at any time: an interrupted run has the
    weights of its last evaluation.
    """

    def __init__(self, population: Population, listener: Listener | None = None) -> None:
        if population.theta_KP.device.type == "cpu":
            keep_freed()
        self.now, self.listener = population, listener
        self.observers: list[Observer] = []
        self.num_layers = population.network.layout.num_layers
        self.membership_PL = population.network.layout.membership(
            population.theta_KP.device, population.theta_KP.dtype
        )
        self.journal = HistoryBuffer(self._names(), population.num_members)
        self.ended: list[Population] = []
        self.step, self.epoch, self.batch = 0, 0, 0  # batch: how many of this epoch's are done
        self.lr: Number = 0.0
        self.after_step: Callable[[Loop], None] | None = None
        self.across: ProcessGroup | None = None  # the other processes that train the same network
        self.pause_epoch: int | None = None  # where `run` returns, to be called again
        self.pruned: dict[int, str] = {}  # member -> why it was made to leave
        self.objectives: list[Tensor] = []  # of the steps since the last evaluation
        self.objective_K: Tensor | None = None  # of the last step
        self._nobody_K = torch.zeros(1, dtype=torch.int64)
        self._pending: list[DeviceRow] = []
        self._last_read = time.monotonic()
        self._last_steps = set(population.watch.last_step_K.tolist())

    @torch.no_grad()
    def run(self) -> None:
        """Until every member has finished, stopped or diverged. A loop that was restored goes on
        where it was.
        """
        with suited(self._largest_product()):
            self._run()

    def _run(self) -> None:
        if self.step == 0 and not self.journal.rows:
            self._evaluate_start()
        while (num_alive := int(self.now.watch.alive_K.sum())) > 0:
            if self.batch in (0, self.now.batches.per_epoch):
                if self.pause_epoch is not None and self.epoch >= self.pause_epoch:
                    break
                self._compact(num_alive)
                self.epoch, self.batch = self.epoch + 1, 0
                self.lr = self._lr(self.now.own(self.epoch - 1))
            self._epoch()
        self.read()

    def _largest_product(self) -> int:
        """Multiplications, of all members that ever were here: who has left does not change how the
        others are worked out.
        """
        sizes = [entry.size for entry in self.now.network.layout.entries]
        return self.journal.num_members * self.now.batches.portion * max(sizes)

    def expect(self, last_steps: set[int]) -> None:
        """Evaluate after these steps, whatever part of an epoch is done by then: some members end
        there.
        """
        self._last_steps = set(last_steps)

    def read(self) -> None:
        """Bring all that was measured to the host."""
        self._read(now=True)

    def _epoch(self) -> None:
        """The rest of the epoch."""
        population, per_epoch = self.now, self.now.batches.per_epoch
        by_step = population.schedule.unit == "step"
        for batch in population.batches.epoch(population.own(self.epoch), self.batch):
            self._hand(population, batch)
            self.step, self.batch = self.step + 1, self.batch + 1
            step = population.own(self.step, per_epoch)
            if by_step:
                self.lr = self._lr(step - 1)
            if population.dropout is not None:
                population.dropout.step = step
            due = self._due(per_epoch)
            before_KP = population.theta_KP.clone() if due else None
            population.theta_KP, population.optimizer_state, objective_K = (
                population.optimizer.step(
                    population.theta_KP,
                    population.objective,
                    population.optimizer_state,
                    step,
                    self.lr,
                )
            )
            self.objectives.append(objective_K)
            self.objective_K = objective_K
            if before_KP is not None:
                self._evaluate(before_KP, self.lr)
                if self.step in self._last_steps and not self.now.watch.alive_K.any():
                    return
            if self.after_step is not None:
                self.after_step(self)

    def _hand(self, population: Population, batch: Batch) -> None:
        """The batch to the objective, or our share of it."""
        objective = population.objective
        objective.across = self.across
        objective.batch = batch if self.across is None else self.across.share(batch)
        if population.dropout is not None:
            population.dropout.first = 0 if self.across is None else self.across.offset

    def _due(self, per_epoch: int) -> bool:
        return (
            self.step % (per_epoch * self.now.training.evaluate_every) == 0
            or self.step in self._last_steps
        )

    def _lr(self, t: int | Tensor) -> Number:
        population = self.now
        factor = population.schedule.factor(t, population.total_units)
        if population.schedule.stateful:
            factor = factor * population.schedule.current(population.schedule_state)
        return population.optimizer.lr * factor

    def _names(self) -> tuple[str, ...]:
        measured = "accuracy" if self.now.scoring.task.classifies else "mae rmse r2"
        splits = [
            f"{split}/{name}"
            for split in ("train", "val")
            if split in self.now.data
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
        """Epoch 0: the initial weights, and the gradient that the first step will meet."""
        population = self.now
        self._hand(population, next(population.batches.epoch(1)))
        if population.dropout is not None:
            population.dropout.step = 1
        population.objective.probe(population.theta_KP)
        self._evaluate(population.theta_KP, self._lr(0), begins=True)

    def _evaluate(self, before_KP: Tensor, lr: Number, begins: bool = False) -> None:
        population, members = self.now, self.now.num_members
        views = population.objective.bound(population.theta_KP)
        found: dict[str, Tensor] = {}
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
                found |= {f"{split}/{name}": value_K for name, value_K in measured.items()}
        was_alive_K = population.watch.alive_K
        value_K = self._monitored(found)
        step = population.own(self.step, population.batches.per_epoch)
        own_step = step.squeeze(1) if isinstance(step, Tensor) else step
        population.watch.observe(
            value_K,
            population.theta_KP,
            population.buffers,
            own_step,
            self._first_bad(found, own_step),
        )
        if population.schedule.stateful and not begins:
            population.schedule_state = population.schedule.observe(
                population.schedule_state, value_K.unsqueeze(1)
            )
        values_MK = torch.stack([found[name] for name in self.journal.names if name in found])
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
        self._read()
        for observer in self.observers:
            observer(population, self.epoch, self.step)

    def _monitored(self, found: dict[str, Tensor]) -> Tensor:
        """The value that chooses the best weights, lower is better: [K]."""
        name = "loss" if self.now.training.monitor == "auto" else self.now.training.monitor
        value_K = found[f"val/{name}" if "val" in self.now.data else f"train/{name}"]
        return -value_K if metrics.better(name) == "max" else value_K

    def _first_bad(self, found: dict[str, Tensor], step: int | Tensor) -> Tensor:
        """The first step since the last evaluation, `step` the current one, whose objective was not
        finite, or this one if loss or weights are not: [K], else 0.

        Weights that are no numbers can hide behind a finite loss: an activation that selects may
        pass them over.
        """
        theta_KP = self.now.theta_KP
        seen_SK = torch.stack([*self.objectives, found["train/loss"].to(self.now.theta_KP.dtype)])
        if seen_SK.device.type == "cpu" and math.isfinite(
            seen_SK.sum() + theta_KP.sum()
        ):  # where looking does not wait, one sum tells that nobody diverged
            self.objectives = []
            return self._nobody_K.expand(self.now.num_members)
        bad_SK = ~seen_SK.isfinite()
        bad_SK[-1] |= ~theta_KP.isfinite().all(1)
        step_K = torch.as_tensor(step, device=theta_KP.device)
        first_K = step_K - len(self.objectives) + 1 + bad_SK.int().argmax(0)
        self.objectives = []
        return torch.where(bad_SK.any(0), first_K.minimum(step_K).clamp_min(1), 0)

    def _squares(self, before_KP: Tensor) -> Tensor:
        """Squared sizes of gradient, update and weights of each layer: [3, K, L]. What follows from
        them is worked out when they are read.
        """
        population = self.now
        measured_3KP = torch.stack(
            [population.objective.gradient_KP, population.theta_KP - before_KP, before_KP]
        )
        return measured_3KP.square_() @ self.membership_PL

    def _read(self, now: bool = False) -> None:
        """Bring the pending rows to the host and tell the listener."""
        if not self._pending or not (now or time.monotonic() - self._last_read > READ_EVERY):
            return
        rows = [pending.row() for pending in self._pending]
        self._pending, self._last_read = [], time.monotonic()
        for row in rows:
            self.journal.append(row)
        if self.listener is not None:
            self.listener(rows, self.journal.names)

    def _compact(self, num_alive: int) -> None:
        """Once half of the members have ended, they leave: their neighbors go on in a smaller
        population.
        """
        if num_alive <= self.now.num_members // 2:
            alive_K = self.now.watch.alive_K
            self.ended.append(self.now.select((~alive_K).nonzero().squeeze(1)))
            self.now = self.now.select(alive_K.nonzero().squeeze(1))

    @torch.no_grad()
    def admit(self, new: Population, joined: Population) -> None:
        """Between two epochs: members that begin now. `joined`: those that train already, and the
        new ones behind them; see `joining.joined`.
        """
        assert joined.start_K is not None
        self.journal.num_members += new.num_members
        self.journal.per_epoch = new.batches.per_epoch
        self.journal.starts = joined.start_K.tolist()
        self.now = new
        self._evaluate_start()
        self.now = joined
        self.membership_PL = joined.network.layout.membership(
            joined.theta_KP.device, joined.theta_KP.dtype
        )
        self._last_steps = set(
            (joined.watch.last_step_K + joined.start_K * joined.batches.per_epoch).tolist()
        )

    def leave(self) -> dict[int, Outcome]:
        """The outcomes of the members that have ended, who leave for good: those that still train
        are numbered anew, in their order.
        """
        self.read()
        alive_K = self.now.watch.alive_K
        ended = [*self.ended, self.now.select((~alive_K).nonzero().squeeze(1))]
        places = [int(member) for population in ended for member in population.members]
        if not places:
            return {}
        histories = dict(zip(places, self.journal.histories(places), strict=True))
        found: dict[int, Outcome] = {}
        for population in ended:
            if population.num_members:
                found |= outcomes_of(population, histories, self.step, self.pruned)
        stay = [int(member) for member in self.now.members[alive_K.cpu()]]
        self.now, self.ended, self.pruned = self.now.select(alive_K.nonzero().squeeze(1)), [], {}
        self.now.members = torch.arange(len(stay))
        self.journal.keep(stay)
        return found

    def outcomes(self) -> list[Outcome]:
        """One outcome a member, in the order of the settings."""
        self.read()
        histories = dict(enumerate(self.journal.histories()))
        found: dict[int, Outcome] = {}
        for population in [*self.ended, self.now]:
            found |= outcomes_of(population, histories, self.step, self.pruned)
        return [found[k] for k in range(self.journal.num_members)]
