"""The weights that `init_from` names: read from a run, and kept with what starts from them.

The copy in the folder of the new run or sweep is what a resumption or a rerun reads: the source may
change or be deleted.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from mlplab.config.run_dir import split_job
from mlplab.errors import ConfigError
from mlplab.model.preprocessing import Preprocessing
from mlplab.network.initial_weights import InitialWeights
from mlplab.runs.initial_weights_file import with_stored_weights, write_copy
from mlplab.runs.run import load
from mlplab.settings import Settings
from mlplab.training import PreparedMember, Session


def with_initial_weights(settings: Settings) -> Settings:
    """Return settings with the weights that `init_from` names, from the copy in the folder that the
    settings were read from if it has one of this source. Raises ConfigError if there are none.
    """
    settings = with_stored_weights(settings)
    if settings.init_from is None or settings.initial is not None:
        return settings
    return replace(settings, initial=_of_run(settings.init_from))


def _of_run(reference: str) -> InitialWeights:
    job = split_job(reference)
    folder = Path(reference) if job is None else job[0] / "jobs" / str(job[1])
    if not (folder / "config.yaml").is_file():
        remedy = (
            "name the folder of a run, or SWEEP:NUMBER"
            if job is None
            else f"`mlplab open {job[0]} {job[1]}` makes the folder of a job"
        )
        raise ConfigError(
            f"`init_from={reference}`: {folder} is not the folder of a run; {remedy}."
        )
    path = folder / "weights.safetensors"
    stamp = path.stat().st_mtime_ns if path.is_file() else 0
    return _loaded(reference, folder, stamp)


@lru_cache(maxsize=4)
def _loaded(reference: str, folder: Path, stamp: int) -> InitialWeights:
    """The weights of a run; `stamp` is the time of its weights."""
    model = load(folder).model
    return InitialWeights(
        reference,
        model.network.layout.entries,
        model.theta_KP[0],
        {name: value[0] for name, value in model.buffers.items()},
        model.preprocessing.input_names,
        targets(model.preprocessing),
    )


def targets(preprocessing: Preprocessing) -> tuple[str, ...]:
    """Return the names of the classes, or those of the targets of a regression."""
    classifies = preprocessing.task.classifies
    return preprocessing.class_names if classifies else preprocessing.target_names


def save_copy(settings: Settings, folder: Path) -> dict[str, object]:
    """Write the weights that a run starts from into its folder, if there are any; return what its
    provenance says about them.
    """
    if settings.init_from is None:
        return {}
    try:
        initial = with_initial_weights(settings).initial
    except ConfigError:  # a job of a sweep whose source is gone since it was trained
        return {}
    assert initial is not None
    write_copy(initial, folder)
    return {"init_from": {"source": initial.source, "sha256": initial.digest}}


def origin_of_weights(settings: Settings, member: PreparedMember, session: Session) -> str | None:
    """Return a line about the layers that start from other weights; None if all are drawn."""
    if settings.initial is None:
        return None
    network = session.groups[0].population.network
    names = targets(Preprocessing.of(member.prepared))
    layers, total = settings.initial.num_layers(network, names), len(network.layers)
    if layers == total:
        return f"all layers start from {settings.initial.source}"
    which = "layer 1" if layers == 1 else f"layers 1 to {layers}"
    return f"{which} of {total} start from {settings.initial.source}; the others are drawn"
