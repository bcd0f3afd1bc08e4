"""Fit a population to arrays, without configuration files and run folders.

Shapes: N rows, F features, C classes, T targets, K members, P parameters.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mlplab.config.registry import table
from mlplab.data import Scaler
from mlplab.data.preparation.examples import Examples, Prepared
from mlplab.data.preparation.grouping import grouped, with_groups
from mlplab.data.scaling import fit_scaler, identity
from mlplab.errors import FieldError
from mlplab.losses import resolve_auto_loss
from mlplab.model.ensemble import Ensemble
from mlplab.model.model import Model
from mlplab.model.preprocessing import Preprocessing
from mlplab.network.layer import Layer
from mlplab.settings import Settings, Tracking
from mlplab.task import Task
from mlplab.tracking import write_history
from mlplab.training import Callback, Evaluation, Group, PreparedMember, Session, check_callbacks
from mlplab.training.checkpoint import Tree, capture, restore
from mlplab.training.outcome import Outcome, mean_scalars
from mlplab.training_options import STYLES

ComponentChoice: TypeAlias = "str | Mapping[str, object]"
"""The name of a component, or a mapping with `name` and keys."""

MAX_AUTO_BATCH_SIZE = 200
NUM_EVALUATIONS = 10  # of a fit without early stopping that somebody follows
MAX_UNREAD_STEPS = 10_000
FIRST_WORK = 1 << 27
"""Of a thread in the first stretch: a few milliseconds, and well under a second on any machine."""


@dataclass
class Fitted:
    """Fitted networks and what they need to predict.

    The weights are the best by validation loss after early stopping, else the last.
    """

    settings: Settings
    model: Model
    seeds: list[int]
    epochs: list[int]
    history: dict[str, list[float]]
    logged: dict[str, list[float]]  # by callbacks
    state: Tree | None = None  # to continue from, after partial fits

    def predict(self, x_NF: np.ndarray, allow_nan: bool = False) -> np.ndarray:
        """Return the members' mean class probabilities [N, C], or values [N, T] in target units.

        Raises NotFiniteError, unless `allow_nan`, if an output of a network is not finite.
        """
        return Ensemble([self.model]).scores(x_NF, "X", 0, allow_nan)[0]


def make_component(group: str, choice: ComponentChoice, **defaults: object) -> Any:
    """Return the component of a group that is named by a string or a mapping.

    `defaults` are values for keys that the choice leaves open; keys that the component does not
    have are ignored. Raises ValueError for an unknown name, key or value.
    """
    overrides = dict(choice) if isinstance(choice, Mapping) else {"name": choice}
    name = overrides.pop("name", None)
    classes = table(group)
    if not isinstance(name, str) or name not in classes:
        raise ValueError(
            f"{group} = {choice!r}: there is no such {group}; choose one of"
            f" {', '.join(sorted(classes))}"
        )
    fields = {field.name for field in dataclasses.fields(classes[name])}
    keys = {
        **{key: value for key, value in defaults.items() if key in fields and value is not None},
        **overrides,
    }
    unknown = sorted(set(keys) - fields)
    if unknown:
        raise ValueError(
            f"{group} = {choice!r}: {name} has no key {unknown[0]!r}; its keys are"
            f" {', '.join(sorted(fields)) or 'none'}"
        )
    try:
        return classes[name](**keys)
    except FieldError as error:
        raise ValueError(f"{group}: {error}") from error


def settings_of(
    params: Mapping[str, Any], seed: int, dtype: str, num_rows: int, task: Task
) -> Settings:
    """Build the settings of one member. Raises ValueError for invalid parameters."""
    initializer = make_component("initializer", params["initializer"])
    activation = make_component("activation", params["activation"])
    layer = {"dropout": params["dropout"], "normalization": params["normalization"]}
    if params["normalization"] not in ("none", "batch", "layer"):
        raise ValueError(
            f"normalization = {params['normalization']!r} is not one of none, batch, layer"
        )
    layers = [Layer(int(units), activation, initializer, **layer) for units in params["hidden"]]
    auto_size = min(MAX_AUTO_BATCH_SIZE, num_rows)
    size = auto_size if params["batch_size"] == "auto" else int(params["batch_size"])
    loss = resolve_auto_loss(make_component("loss", params["loss"]), task)
    if reason := loss.incompatibility(task):
        raise ValueError(f"loss = {params['loss']!r} {reason}")
    try:
        training = STYLES["minibatch"](
            epochs=int(params["epochs"]),
            evaluate_every=_evaluate_every(params, math.ceil(num_rows / size)),
            batch_size=size,
            shuffle=params["shuffle"],
            patience=int(params["patience"]) if params["early_stopping"] else None,
            min_delta=params["min_delta"],
            l1=params["l1"],
            l2=params["l2"],
            clip_norm=params["clip_norm"],
        )  # type: ignore[call-arg]
    except FieldError as error:
        raise ValueError(str(error)) from error
    return Settings(
        name="fit",
        seed=seed,
        device=params["device"],
        dtype=dtype,
        dataset=None,  # type: ignore[arg-type]
        layers=(*layers, Layer(0, None, initializer)),
        embedding=make_component("embedding", params["embedding"]),
        loss=loss,
        optimizer=make_component("optimizer", params["optimizer"], lr=params["lr"]),
        schedule=make_component("schedule", params["schedule"]),
        training=training,
        tracking=Tracking(level="off"),
        config={},
    )


def _evaluate_every(params: Mapping[str, Any], per_epoch: int) -> int:
    """The epochs from one evaluation to the next: all, but for early stopping and those who watch.

    The objectives of the steps between them are kept for `loss_curve_`, so that they are not too
    many.
    """
    epochs = int(params["epochs"])
    if params["early_stopping"]:
        return 1
    shortest = max(1, epochs // NUM_EVALUATIONS)
    if params["callbacks"] or params["log_dir"] is not None:
        return shortest
    return max(shortest, min(epochs, MAX_UNREAD_STEPS // per_epoch))


class _LossCurve(Callback):
    """The objective of each epoch, averaged over batches and members in training: loss_curve_."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._objectives_SK: list[Tensor] = []  # of the steps of an epoch that is not complete

    def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
        batches, new = evaluation.population.batches, evaluation.objectives
        if not len(new):
            return
        new_SK = new if isinstance(new, Tensor) else torch.stack(list(new))
        objectives_SK = torch.cat([*self._objectives_SK, new_SK])
        epochs, rest = divmod(len(objectives_SK), batches.per_epoch)
        steps = len(objectives_SK) - rest
        self._objectives_SK = [objectives_SK[steps:]]
        if not epochs:
            return
        means_EB = objectives_SK[:steps].double().mean(1).view(epochs, -1)
        first_B = batches.batch_size * torch.arange(batches.per_epoch)
        sizes_B = (batches.used - first_B).clamp(max=batches.batch_size).double()
        self.values += (means_EB.cpu() @ sizes_B / batches.used).tolist()

    def evaluations_to_skip(self, session: Session, group: Group) -> int:
        return 0 if group.started else 1  # there are no objectives before the first step


def fit(
    params: Mapping[str, Any],
    seeds: Sequence[int],
    dtype: str,
    num_classes: int,
    x: np.ndarray,
    x_val: np.ndarray | None,
    y: np.ndarray,
    y_val: np.ndarray | None,
    weights: np.ndarray | None,
    weights_val: np.ndarray | None,
) -> Fitted:
    """Train one network per seed, as one population.

    y is int64 [N] for classes, or float64 [N, T] for values (num_classes = 0). Members that
    diverge are left out with a warning; raises ValueError if all do.
    """
    task = _task(num_classes, y)
    settings = [settings_of(params, seed, dtype, len(x), task) for seed in seeds]
    scaler = _target_scaler(settings[0], y, weights)
    prepared = _prepared(
        task, scaler, (x, y, weights), (x_val, y_val, weights_val) if x_val is not None else None
    )
    (prepared,) = with_groups([prepared], settings[0].grouping)
    _, outcomes, curve = _train(params, settings, prepared)
    logged = mean_scalars(outcomes)
    healthy = [k for k, outcome in enumerate(outcomes) if outcome.status != "diverged"]
    if not healthy:
        raise ValueError(
            f"the network diverged: {outcomes[0].reason}. Scale the features or reduce lr"
        )
    if len(healthy) < len(outcomes):
        warnings.warn(
            f"{len(outcomes) - len(healthy)} of {len(outcomes)} members diverged and are left out",
            stacklevel=4,
        )
    outcomes, seeds = [outcomes[k] for k in healthy], [seeds[k] for k in healthy]
    return Fitted(
        settings[0],
        _model(settings[0], prepared, outcomes, params["early_stopping"]),
        list(seeds),
        [o.epochs for o in outcomes],
        _history(outcomes, curve),
        logged,
    )


def fit_more(
    params: Mapping[str, Any],
    seeds: Sequence[int] | None,
    dtype: str,
    num_classes: int,
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None,
    before: Fitted | None,
) -> Fitted:
    """Train one more epoch on these rows, from the state after the last call.

    The first call passes `seeds`; later calls pass the result of the last one as `before`.
    """
    task = _task(num_classes, y)
    member_seeds = list(seeds) if seeds is not None else before.seeds if before is not None else []
    one_epoch = {**params, "epochs": 1, "early_stopping": False}
    settings = [
        settings_of(one_epoch, seed, before.settings.dtype if before else dtype, len(x), task)
        for seed in member_seeds
    ]
    scaler = before.model.preprocessing.target_scaler if before is not None else None
    scaler = scaler or _target_scaler(settings[0], y, weights)
    done = len(before.history["train/loss"]) if before is not None else 0
    prepared = _prepared(task, scaler, (x, y, weights), None)
    if before is None:
        (prepared,) = with_groups([prepared], settings[0].grouping)
    elif (groups := before.model.preprocessing.groups) is not None:
        prepared = grouped(prepared, groups)
    group, outcomes, curve = _train(params, settings, prepared, before)
    history = _history(outcomes, curve)
    if before is not None:
        history = {
            name: [*values, history[name][-1]]
            for name, values in before.history.items()
            if name in history
        }
    return Fitted(
        settings[0],
        _model(settings[0], prepared, outcomes, best=False),
        member_seeds,
        [done + 1] * len(member_seeds),
        history,
        mean_scalars(outcomes),
        copy.deepcopy(capture(group)),
    )


def _task(num_classes: int, y: np.ndarray) -> Task:
    if num_classes:
        return Task("classification", num_classes)
    return Task("regression", num_targets=y.shape[1])


def _continue(group: Group, before: Fitted) -> None:
    """Restore weights, optimizer and step count of the last call to a group over other rows."""
    population = group.population
    if before.state is not None:
        end = int(before.state["step"]) + population.batches.per_epoch
        population.early_stopping.last_step_K.fill_(end)
        restore(group, {**before.state, "objectives": [], "batch": 0}, [])
        group.population.early_stopping.state_K.zero_()
        return
    device, dtype = population.theta_KP.device, population.theta_KP.dtype
    population.theta_KP = before.model.theta_KP.to(device, dtype).clone()
    for name, value in before.model.buffers.items():
        population.buffers[name] = value.to(device, dtype).clone()
    population.optimizer_state = population.optimizer.init(population.theta_KP)


def _train(
    params: Mapping[str, Any],
    settings: Sequence[Settings],
    prepared: Prepared,
    before: Fitted | None = None,
) -> tuple[Group, list[Outcome], list[float]]:
    """Train one population; return it, the outcomes of its members, and their loss curve."""
    curve = _LossCurve()
    check_callbacks(params["callbacks"] or ())
    callbacks = [curve, *(params["callbacks"] or ())]
    session = Session((), callbacks, fixed=True, first_work=FIRST_WORK)
    group = session.add_group([PreparedMember.of(s, prepared) for s in settings])
    if before is not None:
        _continue(group, before)
    session.run()
    outcomes = session.outcomes(metrics=False)
    for k, outcome in enumerate(outcomes if params["log_dir"] is not None else ()):
        folder = Path(params["log_dir"])
        _write_events(folder / f"member_{k}" if len(outcomes) > 1 else folder, outcome)
    return group, outcomes, curve.values


def _target_scaler(settings: Settings, y: np.ndarray, weights: np.ndarray | None) -> Scaler:
    """Scale targets to mean 0 and deviation 1; a row with weight 2 counts as two rows."""
    if y.ndim == 1:
        return identity(1)
    if settings.loss.original_units:
        return identity(y.shape[1])
    if weights is None:
        return fit_scaler(y, "standard", "target")
    mean = np.average(y, axis=0, weights=weights)
    scale = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weights))
    return Scaler(mean, np.where(scale > 0, scale, 1.0))


def _prepared(
    task: Task, scaler: Scaler, train: tuple[Any, ...], val: tuple[Any, ...] | None
) -> Prepared:
    def examples(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> Examples:
        return Examples(
            np.asarray(x, np.float64), y if task.classifies else scaler.apply(y), weights
        )

    names = tuple(f"x{i + 1}" for i in range(train[0].shape[1]))
    outputs = 1 if task.classifies else task.num_targets
    return Prepared(
        task,
        examples(*train),
        examples(*val) if val is not None else None,
        None,
        identity(len(names)),
        scaler,
        names,
        tuple(f"y{t + 1}" for t in range(outputs)),
        tuple(map(str, range(task.num_classes))),
        "",
    )


def _history(outcomes: Sequence[Outcome], curve: list[float]) -> dict[str, list[float]]:
    """One entry per epoch: the train loss of the batches and, with held-out rows, their loss.

    The latter is the mean over the members still in training.
    """
    history = {"train/loss": curve}
    if "val/loss" in outcomes[0].history.names:
        longest = max(len(outcome.history) for outcome in outcomes)
        history["val/loss"] = [
            float(np.mean([o.history["val/loss"][e] for o in outcomes if len(o.history) > e]))
            for e in range(1, longest)
        ]
    return history


def _write_events(folder: Path, outcome: Outcome) -> None:
    """Write the history of a member, and what callbacks logged since its first evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    history = outcome.history
    scalars = {
        name: [row for row in rows if row[0] >= history.step[0]]
        for name, rows in outcome.logged.scalars.items()
    }
    write_history(folder, history.step.tolist(), history.columns, history.time.tolist(), scalars)


def _model(
    settings: Settings, prepared: Prepared, outcomes: Sequence[Outcome], best: bool
) -> Model:
    """The model with the best or the last weights of all members."""
    thetas = [o.theta_P if best else o.last_theta_P for o in outcomes]
    buffers = [o.buffers if best else o.last_buffers for o in outcomes]
    return Model.stacked(settings, Preprocessing.of(prepared), thetas, buffers)
