"""What a component of a user must do, tried once on a small tensor when it is registered.

Shapes of the trial: K = 2 members, B = 3 examples.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlplab.errors import ConfigError, FieldError
from mlplab.schema import Component

if TYPE_CHECKING:
    from torch import Tensor

MEMBERS, EXAMPLES = 2, 3


def check_contract(group: str, name: str, component: type[Component]) -> None:
    """Raise ConfigError if a component with its defaults does not return what its group needs.

    Components with keys that have no default are not tried, nor are training styles. Datasets are
    tried if the class is defined in a notebook or a program: in a plugin file, every process that
    imports it would read the data.
    """
    if group not in _TRIALS or (group == "dataset" and component.__module__ != "__main__"):
        return
    try:
        made = component()
    except FieldError:
        return
    subject = f"The {group} `{name}`"
    try:
        fault = _TRIALS[group](made)
    except NotImplementedError as error:
        method = traceback.extract_tb(error.__traceback__)[-1].name
        raise ConfigError(
            f"{subject} does not implement `{method}`, which every {group} needs."
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{subject} fails on a small example: {type(error).__name__}: {error}"
        ) from error
    if fault:
        raise ConfigError(f"{subject} {fault}.")


def _loss(loss: Any) -> str | None:
    import torch

    from mlplab.task import Task

    if not loss.tasks or set(loss.tasks) - {"classification", "regression"}:
        return (
            f"has tasks = {loss.tasks!r}; state what it is for: derive it from RegressionLoss or"
            ' ClassificationLoss, or set tasks = ("regression",) or ("classification",)'
        )
    tasks = [Task("regression", num_targets=1), *(Task("classification", c) for c in (2, 3))]
    for task in tasks:
        if task.kind not in loss.tasks or loss.incompatibility(task) is not None:
            continue
        size = loss.num_outputs(task)
        outputs_KBC = torch.full((MEMBERS, EXAMPLES, size), 0.5, requires_grad=True)
        targets = (
            torch.zeros(MEMBERS, EXAMPLES, dtype=torch.int64)
            if task.classifies
            else torch.ones(MEMBERS, EXAMPLES, 1)
        )
        asked = f"for outputs [{MEMBERS}, {EXAMPLES}, {size}] it returned"
        try:
            returned = loss(outputs_KBC, targets)
        except Exception:
            if fault := _per_value_fault(loss, outputs_KBC, targets):
                return (
                    "must return one number a value, [K, B, T], from `per_value`, not their mean;"
                    f" {asked} {fault}"
                )
            raise
        if fault := _shape(returned, (MEMBERS, EXAMPLES)):
            return f"must return one number an example, [K, B], not their mean; {asked} {fault}"
        width = task.num_classes if task.classifies else 1
        if fault := _shape(loss.predict(outputs_KBC.detach()), (MEMBERS, EXAMPLES, width)):
            return f"must predict [K, B, {width}] for {task}; {asked} {fault}"
    return None


def _per_value_fault(loss: Any, outputs_KBC: Tensor, targets: Tensor) -> str | None:
    """What `per_value` of a loss of values returns instead of the shape of the targets, if so."""
    if not hasattr(loss, "per_value"):
        return None
    return _shape(loss.per_value(outputs_KBC, targets), tuple(targets.shape))


def _activation(activation: Any) -> str | None:
    import torch

    z_KBH = torch.linspace(-2, 2, MEMBERS * EXAMPLES * 4).view(MEMBERS, EXAMPLES, 4)
    fault = _shape(activation(z_KBH), tuple(z_KBH.shape))
    return f"must keep the shape [K, B, H]; for [2, 3, 4] it returned {fault}" if fault else None


def _optimizer(optimizer: Any) -> str | None:
    import torch

    if optimizer.single_network:
        return None
    theta_KP = torch.zeros(MEMBERS, 5)
    state = optimizer.init(theta_KP)
    updated = optimizer.update(theta_KP, torch.ones_like(theta_KP), state, 1, 0.1)
    if not isinstance(updated, tuple) or len(updated) != 2:
        return "must return the parameters and its state from `update`"
    fault = _shape(updated[0], (MEMBERS, 5))
    return f"must return parameters [K, P]; for [2, 5] it returned {fault}" if fault else None


def _initializer(initializer: Any) -> str | None:
    import torch

    weight_OI = torch.full((3, 2), torch.nan, dtype=torch.float64)
    generator = torch.Generator()
    initializer.of_layer(0, 1).fill(weight_OI, generator)
    return None if weight_OI.isfinite().all() else "leaves weights unset: `fill` writes in place"


def _schedule(schedule: Any) -> str | None:
    factor = schedule.factor(0, 10.0)
    number = isinstance(factor, (int, float)) or getattr(factor, "ndim", None) is not None
    return None if number else f"must return a number from `factor`; it returned {factor!r}"


def _dataset(dataset: Any) -> str | None:
    import numpy as np

    if getattr(dataset, "task_kind", None) not in ("classification", "regression", ""):
        return 'must set task_kind = "classification" or "regression"'
    table = dataset.make(np.random.default_rng(0))
    if hasattr(table, "content_hash"):
        return (
            f"has task_kind = {dataset.task_kind!r}, but its table is a {table.task.kind}"
            if dataset.task_kind not in ("", table.task.kind)
            else None
        )
    return (
        "must return a table from `make`: class_table(x, y, class_names) or value_table(x, y) of"
        f" mlplab.data; it returned a {type(table).__name__}"
    )


def _shape(value: object, wanted: tuple[int, ...]) -> str | None:
    """None for a tensor of the wanted shape, else what the value is."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return f"a {type(value).__name__}"
    return None if tuple(shape) == wanted else str(list(shape))


_TRIALS: dict[str, Callable[[Any], str | None]] = {
    "loss": _loss,
    "activation": _activation,
    "optimizer": _optimizer,
    "initializer": _initializer,
    "schedule": _schedule,
    "dataset": _dataset,
}
