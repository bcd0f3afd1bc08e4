"""The check of the metric that ranks configurations or guides a search, before the first job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlplab import metrics
from mlplab.config.suggestions import did_you_mean
from mlplab.data.preparation.examples import Prepared
from mlplab.data.table import SPLITS
from mlplab.errors import ConfigError


def check_metric(
    key: str, name: str, datasets: Iterable[Prepared], facts: Sequence[str] = ()
) -> None:
    """Raise ConfigError unless runs on one of the datasets measure the metric `name`, such as
    val/loss, or it is one of `facts`. `key` is the key of the configuration that names it.
    """
    names = dict.fromkeys(facts)
    for prepared in datasets:
        names |= dict.fromkeys(metric_names(prepared))
    if name in names:
        return
    measures = list(dict.fromkeys(one.partition("/")[2] for one in names if "/" in one))
    splits = list(dict.fromkeys(one.partition("/")[0] for one in names if "/" in one))
    other = f", or one of {', '.join(facts)}" if facts else ""
    raise ConfigError(
        f"`{key}={name}`: no job measures `{name}`. {did_you_mean(name, names, f'`{key}={{}}`')}A"
        f" metric is SPLIT/NAME, with {', '.join(splits)} as SPLIT and {', '.join(measures)} as"
        f" NAME{other}."
    )


def metric_names(prepared: Prepared) -> list[str]:
    """Return the names of the metrics of a run, "<split>/<metric>" for each split it has."""
    return [
        f"{split}/{name}"
        for split in SPLITS
        if getattr(prepared, split) is not None
        for name in metrics.names_for(prepared.task.kind)
    ]
