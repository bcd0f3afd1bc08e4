"""A run's row in TensorBoard's HParams table: few columns, the same in every run of a sweep, and
the metrics of the best weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlplab.network.layer import hidden_widths
from mlplab.settings import Settings

_GROUPS = ("dataset", "activation", "initializer", "optimizer", "training")


@dataclass(frozen=True)
class HParams:
    """The cells of the row, and the tags of its metrics.

    `choices` are the values that each key takes in the sweep; they set the types of the columns.
    """

    values: Mapping[str, object]
    metrics: Sequence[str]
    choices: Mapping[str, Sequence[object]] = field(default_factory=dict)

    @classmethod
    def of_run(
        cls, settings: Settings, names: Sequence[str], swept: Mapping[str, object] | None = None
    ) -> HParams:
        """The swept keys of a run and then its headline keys. `names` are the metrics it logs."""
        return cls(
            {
                **{key: to_cell(value) for key, value in (swept or {}).items()},
                **_headline(settings, swept or {}),
            },
            final_tags(names),
        )


def _headline(settings: Settings, swept: Mapping[str, object]) -> dict[str, object]:
    lr = getattr(settings.optimizer, "lr", None)
    values = {
        **{group: settings.choice(group) for group in _GROUPS},
        "model.hidden": "-".join(map(str, hidden_widths(settings.layers))) or "none",
        **({"optimizer.lr": float(lr)} if isinstance(lr, (int, float)) else {}),
        "seed": settings.seed,
    }
    return {key: value for key, value in values.items() if key not in swept}


def to_cell(value: object) -> bool | float | str:
    """Convert a value to a cell of the table: a boolean, a number or a string."""
    return (
        value
        if isinstance(value, (bool, int, float, str))
        else "null"
        if value is None
        else str(value).replace(" ", "")
    )


def final_tags(names: Sequence[str]) -> list[str]:
    """Return the tags of the final metrics: those of the best weights on the validation split
    (train if there is none), and on the test split.
    """
    split, metric_names = _split_and_metrics(names)
    return [f"{prefix}/{name}" for prefix in (f"{split}_best", "test") for name in metric_names]


def _split_and_metrics(names: Sequence[str]) -> tuple[str, list[str]]:
    split = "val" if any(name.startswith("val/") for name in names) else "train"
    return split, [name.partition("/")[2] for name in names if name.startswith(f"{split}/")]


def final_scalars(
    names: Sequence[str], metrics: Mapping[str, float], best_step: int, steps: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield (step, tag -> value) of the final metrics: one point each, at the step of the best
    weights, and for the test split at the last step.
    """
    split, metric_names = _split_and_metrics(names)
    best = {
        f"{split}_best/{name}": metrics[f"{split}/{name}"]
        for name in metric_names
        if f"{split}/{name}" in metrics
    }
    test = {name: value for name, value in metrics.items() if name.startswith("test/")}
    for step, values in ((best_step, best), (steps, test)):
        if values:
            yield step, values
