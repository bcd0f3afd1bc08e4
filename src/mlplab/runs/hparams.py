"""A run's row in TensorBoard's HParams table: few columns, the same in every run of a sweep, and
the metrics of the chosen weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlplab.settings import Settings

_GROUPS = ("dataset", "activation", "initializer", "optimizer", "training")


@dataclass(frozen=True)
class HParams:
    """`choices` are the values that each key takes in the sweep: they say of which kind a column
    is.
    """

    values: Mapping[str, Any]
    metrics: Sequence[str]
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def of_run(
        cls, settings: Settings, names: Sequence[str], swept: Mapping[str, Any] | None = None
    ) -> HParams:
        """The headline keys of a run after those that its sweep changes. `names` are the metrics
        that it will log.
        """
        return cls(
            {
                **{key: shown(value) for key, value in (swept or {}).items()},
                **_headline(settings, swept or {}),
            },
            final_tags(names),
        )


def _headline(settings: Settings, swept: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {group: settings.choice(group) for group in _GROUPS}
    values["model.hidden"] = "-".join(str(layer.units) for layer in settings.layers[:-1]) or "none"
    lr = getattr(settings.optimizer, "lr", None)
    if isinstance(lr, (int, float)):
        values["optimizer.lr"] = float(lr)
    values["seed"] = settings.seed
    return {key: value for key, value in values.items() if key not in swept}


def shown(value: Any) -> Any:
    """A value as a cell of the table: a flag, a number or a text."""
    return (
        value
        if isinstance(value, (bool, int, float, str))
        else "null"
        if value is None
        else str(value).replace(" ", "")
    )


def final_tags(names: Sequence[str]) -> list[str]:
    """Where the final metrics stand: those of the chosen weights on the validation part (train
    where there is none), and on the test part.
    """
    split, measured = _measured(names)
    return [f"{split}_best/{name}" for name in measured] + [f"test/{name}" for name in measured]


def _measured(names: Sequence[str]) -> tuple[str, list[str]]:
    split = "val" if "val/loss" in names else "train"
    return split, [name.partition("/")[2] for name in names if name.startswith(f"{split}/")]


def final_scalars(
    names: Sequence[str], metrics: Mapping[str, float], best_step: int, steps: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """One point each, since the chosen weights are measured once: at the step of these weights, and
    for the test part at the end.
    """
    split, measured = _measured(names)
    best = {
        f"{split}_best/{name}": metrics[f"{split}/{name}"]
        for name in measured
        if f"{split}/{name}" in metrics
    }
    test = {name: value for name, value in metrics.items() if name.startswith("test/")}
    for step, values in ((best_step, best), (steps, test)):
        if values:
            yield step, values
