"""Arrays in, a fitted population out: the engine without configuration files and run folders.

Shapes: N rows, F features, C classes, T targets, K members, P parameters.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mlplab.config.registry import table
from mlplab.data import Scaler
from mlplab.data.preparation.examples import Examples, Prepared
from mlplab.data.scaling import fit_scaler, identity
from mlplab.errors import FieldError
from mlplab.losses import resolve_auto_loss
from mlplab.network.layer import Layer
from mlplab.network.mlp import MLP, PopulationLayer, stack_layers
from mlplab.settings import Settings, Tracking
from mlplab.task import Task
from mlplab.training import Loop, PreparedMember, build_population
from mlplab.training.checkpoint import Tree, capture, restore
from mlplab.training_options import STYLES

Component: TypeAlias = "str | Mapping[str, Any]"
"""A word, or a mapping with `name` and keys."""

BATCH = 200
EVALUATIONS = 10
BLOCK = 1 << 22


@dataclass
class Fitted:
    """Networks as they were fitted: weights [K, P], the best by validation loss where there was
    one; and what predicting needs.
    """

    settings: Settings
    task: Task
    num_features: int
    target_scaler: Scaler
    theta_KP: np.ndarray
    buffers: dict[str, np.ndarray]
    seeds: list[int]
    epochs: list[int]
    history: dict[str, list[float]]
    state: Tree | None = None  # to go on from: after partial fits

    def predict(self, x_NF: np.ndarray) -> np.ndarray:
        """Mean over the members of class probabilities [N, C], or of values [N, T] in the target's
        own units.
        """
        # what a row is predicted must not depend on the rows beside it
        network, dtype = self._network(), torch.float64
        theta_KP = torch.from_numpy(self.theta_KP).to(dtype)
        buffers = {name: torch.from_numpy(value).to(dtype) for name, value in self.buffers.items()}
        members = len(theta_KP)
        views = network.layout.layers(network.layout.split(theta_KP))
        widest = max(network.num_features, *(layer.units for layer in network.layers))
        rows = max(1, BLOCK // (members * widest))
        found = []
        with torch.no_grad():
            for start in range(0, len(x_NF), rows):
                x_NF_part = torch.from_numpy(np.ascontiguousarray(x_NF[start : start + rows])).to(
                    dtype
                )
                outputs = network.forward(views, x_NF_part.expand(members, -1, -1), buffers)
                found.append(self.settings.loss.predict(outputs).mean(0))
        scores = torch.cat(found).numpy()
        return np.asarray(scores if self.task.classifies else self.target_scaler.invert(scores))

    def _network(self) -> MLP:
        layers: list[PopulationLayer] = stack_layers(
            [self.settings.layers], self.settings.loss.num_outputs(self.task), torch.device("cpu")
        )
        return MLP(self.num_features, layers)


def part(group: str, chosen: Component, **more: Any) -> Any:
    """The part that a word or a mapping names; `more` are keys that it takes where it has them.
    Raises ValueError.
    """
    written = dict(chosen) if isinstance(chosen, Mapping) else {"name": chosen}
    word = written.pop("name", None)
    known = table(group)
    if not isinstance(word, str) or word not in known:
        raise ValueError(
            f"{group} = {chosen!r}: there is no such {group}; there are {', '.join(sorted(known))}"
        )
    names = {field.name for field in dataclasses.fields(known[word])}
    keys = {
        **{key: value for key, value in more.items() if key in names and value is not None},
        **written,
    }
    unknown = sorted(set(keys) - names)
    if unknown:
        raise ValueError(
            f"{group} = {chosen!r}: {word} has no key {unknown[0]!r}; it has"
            f" {', '.join(sorted(names)) or 'none'}"
        )
    try:
        return known[word](**keys)
    except FieldError as error:
        raise ValueError(f"{group}: {error}") from error


def settings_of(
    params: Mapping[str, Any], seed: int, dtype: str, num_rows: int, task: Task
) -> Settings:
    """The settings of one member."""
    initializer = part("initializer", params["initializer"])
    activation = part("activation", params["activation"])
    layer = {"dropout": params["dropout"], "normalization": params["normalization"]}
    if params["normalization"] not in ("none", "batch", "layer"):
        raise ValueError(
            f"normalization = {params['normalization']!r} is none of none, batch, layer"
        )
    layers = [Layer(int(units), activation, initializer, **layer) for units in params["hidden"]]
    size = min(BATCH, num_rows) if params["batch_size"] == "auto" else int(params["batch_size"])
    loss = resolve_auto_loss(part("loss", params["loss"]), task)
    if reason := loss.incompatibility(task):
        raise ValueError(f"loss = {params['loss']!r} {reason}")
    try:
        training = STYLES["minibatch"](
            epochs=int(params["epochs"]),
            evaluate_every=_every(params),
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
        loss=loss,
        optimizer=part("optimizer", params["optimizer"], lr=params["lr"]),
        schedule=part("schedule", params["schedule"]),
        training=training,
        tracking=Tracking(level="off"),
        config={},
    )


def _every(params: Mapping[str, Any]) -> int:
    """Epochs between two evaluations on all rows. They decide when to stop; without that a few are
    enough to notice divergence.
    """
    return 1 if params["early_stopping"] else max(1, int(params["epochs"]) // EVALUATIONS)


class _Curve:
    """The mean objective of each epoch's batches, and of the members that still train: what
    scikit-learn calls loss_curve_.
    """

    def __init__(self, loop: Loop) -> None:
        self.values: list[float] = []
        self._sums: list[Tensor] = []
        self._seen = loop.step
        loop.after_step = self

    def run(self, loop: Loop) -> None:
        """Train; the loop leaves at its last step without a call."""
        loop.run()
        if loop.step != self._seen:
            self(loop)

    def __call__(self, loop: Loop) -> None:
        assert loop.objective_K is not None
        self._seen = loop.step
        batches = loop.population.batches
        size = min(batches.portion, batches.used - (loop.batch - 1) * batches.portion)
        self._sums.append(loop.objective_K * size)
        if loop.batch == batches.per_epoch:
            self.values.append(float(torch.stack(self._sums).sum(0).mean()) / batches.used)
            self._sums = []


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
    """Train one network a seed, as one population. y is int64 [N] for classes, float64 [N, T] for
    values (num_classes = 0).
    """
    task = (
        Task("classification", num_classes)
        if num_classes
        else Task("regression", num_targets=y.shape[1])
    )
    settings = [settings_of(params, seed, dtype, len(x), task) for seed in seeds]
    scaler = _target_scaler(settings[0], y, weights)
    prepared = _prepared(
        task, scaler, (x, y, weights), (x_val, y_val, weights_val) if x_val is not None else None
    )
    loop = _loop(settings, prepared)
    curve = _Curve(loop)
    curve.run(loop)
    outcomes = loop.outcomes()
    healthy = [k for k, outcome in enumerate(outcomes) if outcome.status != "diverged"]
    if not healthy:
        raise ValueError(
            f"the network diverged: {outcomes[0].reason}. Scale the features, or lower lr"
        )
    if len(healthy) < len(outcomes):
        warnings.warn(
            f"{len(outcomes) - len(healthy)} of {len(outcomes)} members diverged and are left out",
            stacklevel=4,
        )
    outcomes, seeds = [outcomes[k] for k in healthy], [seeds[k] for k in healthy]
    kept = [
        (o.theta_P, o.buffers) if params["early_stopping"] else (o.last_theta_P, o.last_buffers)
        for o in outcomes
    ]
    return _fitted(
        settings[0],
        task,
        x.shape[1],
        scaler,
        kept,
        list(seeds),
        [o.epochs for o in outcomes],
        _history(outcomes, curve),
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
    """One more epoch on these rows, from the state in which the last call ended."""
    task = (
        Task("classification", num_classes)
        if num_classes
        else Task("regression", num_targets=y.shape[1])
    )
    known = list(seeds) if seeds is not None else before.seeds if before is not None else []
    own = {**params, "epochs": 1, "early_stopping": False}
    settings = [
        settings_of(own, seed, before.settings.dtype if before else dtype, len(x), task)
        for seed in known
    ]
    scaler = before.target_scaler if before is not None else _target_scaler(settings[0], y, weights)
    loop = _loop(settings, _prepared(task, scaler, (x, y, weights), None))
    done = len(before.history["train/loss"]) if before is not None else 0
    if before is not None:
        _continue(loop, before)
    curve = _Curve(loop)
    curve.run(loop)
    outcomes = loop.outcomes()
    history = _history(outcomes, curve)
    if before is not None:
        history = {
            name: [*values, history[name][-1]]
            for name, values in before.history.items()
            if name in history
        }
    kept = [(o.last_theta_P, o.last_buffers) for o in outcomes]
    fitted = _fitted(
        settings[0], task, x.shape[1], scaler, kept, known, [done + 1] * len(known), history
    )
    fitted.state = copy.deepcopy(capture(loop))
    return fitted


def _continue(loop: Loop, before: Fitted) -> None:
    """Put weights, optimizer and step count of the last call into a loop over other rows."""
    population = loop.population
    if before.state is not None:
        tree = before.state
        per_epoch = population.batches.per_epoch
        population.early_stopping.last_step_K = torch.full_like(
            population.early_stopping.last_step_K, int(tree["step"]) + per_epoch
        )
        restore(loop, {**tree, "objectives": []}, [])
        loop.batch = 0
        loop.population.early_stopping.state_K.zero_()
        loop.set_last_steps({int(tree["step"]) + per_epoch})
        return
    dtype = population.theta_KP.dtype
    population.theta_KP = (
        torch.from_numpy(before.theta_KP).to(population.theta_KP.device, dtype).clone()
    )
    for name, value in before.buffers.items():
        population.buffers[name] = (
            torch.from_numpy(value).to(population.theta_KP.device, dtype).clone()
        )
    population.optimizer_state = population.optimizer.init(population.theta_KP)


def _loop(settings: list[Settings], prepared: Prepared) -> Loop:
    population, _ = build_population([PreparedMember(own, prepared) for own in settings])
    return Loop(population)


def _target_scaler(settings: Settings, y: np.ndarray, weights: np.ndarray | None) -> Scaler:
    """Mean 0 and deviation 1 of the targets; a row counts by its weight, so that a weight of two is
    a row given twice.
    """
    if y.ndim == 1:
        return identity(1)
    if settings.loss.own_units:
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


def _history(outcomes: Sequence[Any], curve: _Curve) -> dict[str, list[float]]:
    """An entry an epoch: the train loss of the batches, and where rows were held out the mean of
    theirs over the members that were still there.
    """
    found = {"train/loss": curve.values}
    if "val/loss" in outcomes[0].history.names:
        longest = max(len(outcome.history) for outcome in outcomes)
        found["val/loss"] = [
            float(np.mean([o.history["val/loss"][e] for o in outcomes if len(o.history) > e]))
            for e in range(1, longest)
        ]
    return found


def _fitted(
    settings: Settings,
    task: Task,
    num_features: int,
    scaler: Scaler,
    kept: Sequence[tuple[Tensor, dict[str, Tensor]]],
    seeds: list[int],
    epochs: list[int],
    history: dict[str, list[float]],
) -> Fitted:
    buffers = {name: np.stack([own[name].numpy() for _, own in kept]) for name in kept[0][1]}
    return Fitted(
        settings,
        task,
        num_features,
        scaler,
        np.stack([theta.numpy() for theta, _ in kept]),
        buffers,
        seeds,
        epochs,
        history,
    )
