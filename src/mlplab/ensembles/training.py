"""Trains the members of a packed ensemble in one session, and selects among them as they train.

Shapes: M candidates, N rows, C classes or targets, P parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from mlplab import metrics
from mlplab.ensembles.selection import bagged
from mlplab.model.model import Model
from mlplab.model.packed import PackedModel
from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.evaluate import Rows
from mlplab.runs.packed_weights import Selected
from mlplab.training import Callback, Group, Outcome, PreparedMember, Session

ROUND_EPOCHS = 5
"""Epochs between two selections."""
PATIENCE = 6
"""Selections without a better ensemble after which the training ends."""
RETIRE_EPOCHS = 10
"""Epochs without improvement after which a member that is not selected is retired."""


@dataclass(frozen=True)
class Candidate:
    """The best weights that a member had at an epoch, with their predictions on validation."""

    member: int
    epoch: int
    model: Model
    scores_NC: np.ndarray
    score: float


@dataclass(frozen=True)
class Selection:
    """The ensemble of one round: candidates with weights that sum to 1."""

    epoch: int
    score: float
    chosen: tuple[tuple[Candidate, float], ...]


@dataclass
class PackedTraining(Callback):
    """Trains members from round to round; a member's best weights are its candidate.

    The candidates of the present ensemble stay in the pool when their members improve.
    """

    members: Sequence[PreparedMember]
    overrides: Sequence[Sequence[str]]
    val: Rows
    seed: int
    candidates: dict[int, Candidate] = field(default_factory=dict)
    history: list[Selection] = field(default_factory=list)
    retired: list[int] = field(default_factory=list)
    best: Selection | None = None

    def next_pause(self, session: Session, group: Group, index: int, epoch: int) -> int | None:
        return (epoch // ROUND_EPOCHS + 1) * ROUND_EPOCHS

    def run(self) -> list[Outcome]:
        """Train until no member is left or the ensemble no longer improves."""
        session, epoch = Session.of(self.members, [self]), 0
        with session.started():
            while groups := [group for group in session.groups if group.in_training]:
                session.advance(*groups)
                epoch += ROUND_EPOCHS
                outcomes = session.outcomes(metrics=False)
                self._collect(outcomes)
                self._select(epoch)
                self._retire(session, epoch)
        return session.outcomes(metrics=False)

    def _collect(self, outcomes: Sequence[Outcome]) -> None:
        for number, outcome in enumerate(outcomes):
            known = self.candidates.get(number)
            if known is not None and known.epoch == outcome.best_epoch:
                continue
            settings = self.members[number].settings
            preprocessing = Preprocessing.of(self.members[number].prepared)
            model = Model.stacked(settings, preprocessing, [outcome.theta_P], [outcome.buffers])
            scores_NC = model.scores(self.val.x_NF, allow_nan=True)[0]
            score = float(self.score(scores_NC[None])[0])
            if np.isfinite(scores_NC).all() and np.isfinite(score):
                self.candidates[number] = Candidate(
                    number, outcome.best_epoch, model, scores_NC, score
                )

    @property
    def metric(self) -> str:
        """The metric that selects: that of training.monitor, or log loss or rmse."""
        monitor = self.members[0].settings.training.monitor
        if monitor not in ("auto", "loss"):
            return monitor
        return "log_loss" if self.val.task.classifies else "rmse"

    @property
    def sign(self) -> int:
        """The factor that makes lower values of the metric better."""
        return -1 if metrics.direction(self.metric) == "max" else 1

    def score(self, scores_MNC: np.ndarray) -> np.ndarray:
        """The metric on validation, times `sign`: [M]."""
        y = self.val.y
        targets = torch.tensor(np.broadcast_to(y, (len(scores_MNC), *y.shape)))
        values = torch.tensor(scores_MNC)
        values_M = metrics.final_metric(self.metric, self.val.task.kind, values, targets)
        return np.asarray(self.sign * values_M.numpy())

    def _select(self, epoch: int) -> None:
        pool = list(self.candidates.values())
        known = {(one.member, one.epoch) for one in pool}
        earlier = self.history[-1].chosen if self.history else ()
        pool += [one for one, _ in earlier if (one.member, one.epoch) not in known]
        if not pool:
            return
        scores_MNC = np.stack([one.scores_NC for one in pool])
        weights_M = bagged(scores_MNC, self.score, self.seed)
        mean_NC = np.tensordot(weights_M, scores_MNC, 1)
        chosen = tuple(
            (one, float(weight)) for one, weight in zip(pool, weights_M, strict=True) if weight
        )
        selection = Selection(epoch, float(self.score(mean_NC[None])[0]), chosen)
        self.history.append(selection)
        if self.best is None or selection.score < self.best.score:
            self.best = selection

    def _retire(self, session: Session, epoch: int) -> None:
        if self.best is None:
            return
        done = epoch - self.best.epoch >= PATIENCE * ROUND_EPOCHS
        selected = {one.member for one, _ in self.history[-1].chosen}
        for group in session.groups:
            for index in group.indices_in_training():
                number = group.numbers[index]
                one = self.candidates.get(number)
                if done:
                    session.stop(number, "the ensemble did not improve within its patience")
                elif number not in selected and epoch - (one.epoch if one else 0) > RETIRE_EPOCHS:
                    session.retire(number, "neither selected nor improved")
                    self.retired.append(number)

    def result(self) -> tuple[PackedModel, list[Selected]]:
        """The model of the best selection, and its members. Raises ValueError if all diverged."""
        if self.best is None:
            raise ValueError("no member of the ensemble has finite predictions")
        chosen = self.best.chosen
        model = PackedModel.of_members([one.model for one, _ in chosen], [w for _, w in chosen])
        selected = [
            Selected(one.member, tuple(self.overrides[one.member]), weight, one.epoch, one.score)
            for one, weight in chosen
        ]
        return model, selected
