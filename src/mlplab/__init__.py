"""mlplab: a laboratory for feed-forward neural networks.

    import mlplab
    run = mlplab.run(["experiment=radial_6_6", "seed=3"])
    run.metrics["test/accuracy"], run.history["val/loss"], run.module(), run.predict(x)
    run = mlplab.fit(X, y, ["model.hidden=64-64"])  # arrays, tensors or data frames
    table = mlplab.sweep(["experiment=xor_mlp", "optimizer.lr=0.01,0.03", "seed=range(64)"])
    run = mlplab.load("outputs/runs/...")
    run = mlplab.load("outputs/sweeps/...", job=17)
    table = mlplab.list_runs("outputs", ["optimizer=adam", "val/accuracy>0.9"])

Heavy packages are imported only when they are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pandas import DataFrame

    from mlplab.config.composition import Composed
    from mlplab.runs.run import Run
    from mlplab.training import Callback

__all__ = ["Callback", "fit", "list_runs", "load", "run", "sweep"]


Overrides: TypeAlias = "Sequence[str] | str | Mapping[str, object] | None"
"""Overrides as on the command line: a list of them, one, a mapping of keys to values, or None."""


def run(
    overrides: Overrides = (),
    folder: str | Path | None = None,
    quiet: bool = True,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train the run that the overrides describe, as `mlplab train` does, and return it. It is saved
    in `folder`, or in a new folder in outputs/. `callbacks` follow the training.

    Raises mlplab.errors.MlplabError for input that is refused.
    """
    from mlplab import experiment
    from mlplab.config.builder import build
    from mlplab.config.composer import Composer, override_list

    composed = Composer(override_list(overrides)).compose_run()
    run_folder = _run_folder(folder, composed)
    settings = build(composed)
    if settings.init_from is not None:
        from mlplab.sweeps.open_job import with_opened_source

        settings = with_opened_source(settings)
    return experiment.run(settings, run_folder, quiet=quiet, callbacks=callbacks)


def _run_folder(folder: str | Path | None, composed: Composed) -> Path | None:
    path = folder if folder is not None else composed.run_dir
    return Path(path) if path is not None else None


def fit(
    X: Any,
    y: Any = None,
    overrides: Overrides = (),
    *,
    sample_weight: Any = None,
    folder: str | Path | None = None,
    resume: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    quiet: bool = True,
) -> Run:
    """Train on data from Python and return the run, whose folder is like that of `mlplab.run`.

    Args:
        X: features [N, F] or [N] as an array, a tensor, nested lists or a data frame, whose columns
            are treated like those of a file; or, without y, a tuple of two or three pairs (X, y) or
            triples (X, y, sample_weight): the train, val and test splits.
        y: targets [N] or [N, T], or the name of a column of X.
        overrides: as for `mlplab train`; the keys of `dataset` are those of dataset=arrays.
        sample_weight: the weight of each row in training [N].
        folder: the folder of the run; None makes a new one in outputs/.
        resume: the folder of an interrupted run on the same data, to be finished, or of a finished
            run to be extended with training.epochs=... in `overrides`.
        callbacks: objects that follow the training; see `mlplab.Callback`.
        quiet: whether to print no progress.

    The folder stores data of up to 64 MiB, so that all commands work on it. Raises
    mlplab.errors.MlplabError for input that is refused.
    """
    from dataclasses import replace

    from mlplab import experiment
    from mlplab.config import settings_of_folder
    from mlplab.config.builder import build
    from mlplab.config.composer import Composer, override_list
    from mlplab.data.tabular.arrays_dataset import with_data
    from mlplab.data.tabular.collecting import collect
    from mlplab.runs.resume_checks import changed_keys

    changes = override_list(overrides)
    data = collect(X, y, sample_weight)
    if resume is not None:
        path = Path(resume)
        settings = settings_of_folder(path, changes, trains=True)
        settings = replace(settings, dataset=with_data(settings.dataset, data))
        allowed = changed_keys(path, changes)
        return experiment.resume(path, settings, quiet=quiet, allowed=allowed, callbacks=callbacks)
    data_overrides = ["dataset=arrays", f"dataset.data_hash={data.sha256}"]
    composed = Composer([*data_overrides, *changes]).compose_run()
    settings = build(composed)
    settings = replace(settings, dataset=with_data(settings.dataset, data))
    run_folder = _run_folder(folder, composed)
    return experiment.run(settings, run_folder, quiet=quiet, callbacks=callbacks)


def sweep(
    overrides: Overrides = (),
    folder: str | Path | None = None,
    quiet: bool = True,
    callbacks: Sequence[Callback] = (),
) -> DataFrame:
    """Train every job that the overrides describe, as `mlplab train -m` does, and return a
    DataFrame with one row per job: job, status, swept keys, metrics.

    The sweep is saved in `folder`, or in a new folder in outputs/, which is also the value of
    `table.attrs["folder"]`. If the folder already contains the same sweep, only its missing jobs
    are trained. `callbacks` follow the training of each population, in this process. Raises
    mlplab.errors.MlplabError for input that is refused, and
    KeyboardInterrupt if the sweep was interrupted.
    """
    from mlplab.config.composer import override_list
    from mlplab.sweeps.run_sweep import to_frame

    return to_frame(
        override_list(overrides), None if folder is None else Path(folder), quiet, callbacks
    )


_SUBMODULES = ("sklearn",)
"""Submodules that are imported when they are first used, as in mlplab.sklearn.MLPClassifier."""


def __getattr__(name: str) -> object:
    if name == "Callback":
        from mlplab.training import Callback

        return Callback
    if name in _SUBMODULES:
        from importlib import import_module

        return import_module(f"mlplab.{name}")  # which binds it here
    if name == "__version__":
        from importlib.metadata import version

        return version("mlplab")
    raise AttributeError(f"module 'mlplab' has no attribute {name!r}")


def load(folder: str | Path, job: int | None = None) -> Run:
    """Load a run from its folder: configuration, metrics, history and network. No code from the
    folder is executed.

    With `job`, or "SWEEP:NUMBER" as the folder, the job of this number of a sweep. Raises
    mlplab.errors.MlplabError if the folder contains no run, or a damaged one.
    """
    from mlplab.config.run_dir import split_job

    reference = (Path(folder), job) if job is not None else split_job(folder)
    if reference is not None:
        from mlplab.sweeps.open_job import load_job

        return load_job(*reference)
    from mlplab.runs.run import load as load_run

    return load_run(folder)


def list_runs(folder: str | Path = "outputs", where: Sequence[str] | str = ()) -> DataFrame:
    """Return a DataFrame with a row for each run and each job of a sweep below a folder, newest
    first.

    Its columns are folder, kind (run or job), sweep, job, name, status, reason, time, seed; the
    configuration keys that an override of one of the runs sets or whose values differ, such as
    optimizer.lr; the metrics, such as val/accuracy; epochs, steps, best_epoch, num_parameters,
    population (the number of jobs that trained together), engine, device, and the run's share of
    the computing time: seconds and cpu_seconds. `where` takes the conditions of `mlplab runs
    --where`, such as "optimizer.lr<0.1", all of which a run must meet.

    Raises mlplab.errors.MlplabError if there is no such folder, or for a condition that is none.
    """
    from mlplab.runs.listing import list_runs as listed

    return listed(Path(folder), [where] if isinstance(where, str) else where)
