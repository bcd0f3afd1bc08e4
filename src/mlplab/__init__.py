"""mlplab: a laboratory for feed-forward neural networks.

    import mlplab
    run = mlplab.run(["experiment=radial_6_6", "seed=3"])
    run.metrics["test/accuracy"], run.history["val/loss"], run.module(), run.predict(x)
    run = mlplab.fit(X, y, ["model.hidden=64-64"])  # arrays, tensors or data frames
    table = mlplab.sweep(["experiment=xor_mlp", "optimizer.lr=0.01,0.03", "seed=range(64)"])
    run = mlplab.load("outputs/runs/...")
    run = mlplab.resume("outputs/runs/...", "training.epochs=500")
    run = mlplab.load("outputs/sweeps/...", job=17)
    table = mlplab.list_runs("outputs", ["optimizer=adam", "val/accuracy>0.9"])

Heavy packages are imported only when they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pandas import DataFrame

    from mlplab.config.composition import Composed
    from mlplab.data.tabular.in_memory import InMemoryData
    from mlplab.interactive import Run
    from mlplab.runs.run import Run as FinishedRun
    from mlplab.settings import Settings
    from mlplab.training import Callback, History

__all__ = ["Callback", "History", "Run", "fit", "list_runs", "load", "resume", "run", "sweep"]


Overrides: TypeAlias = "Sequence[str] | str | Mapping[str, object] | None"
"""Overrides as on the command line: a list of them, one, a mapping of keys to values, or None."""


def run(
    overrides: Overrides = (),
    folder: str | Path | None = None,
    quiet: bool = True,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train the run that the overrides describe, as `mlplab train` does, and return it.

    Args:
        overrides: as on the command line: a list such as ["experiment=xor_mlp", "seed=3"], one
            override, a mapping of keys to values, or None.
        folder: the folder of the run; None makes a new one in outputs/.
        quiet: False shows a progress bar, and prints the table of the command line at the end.
        callbacks: objects that follow the training; see `mlplab.Callback`.

    A training that is interrupted, in a notebook too, returns the run with its best weights so far
    and the status interrupted; `mlplab.resume(run.folder)` finishes it. Raises
    mlplab.errors.MlplabError for input that is refused.
    """
    from mlplab import experiment
    from mlplab.config.builder import build
    from mlplab.config.composer import Composer, override_list
    from mlplab.interactive import Run

    composed = Composer(override_list(overrides)).compose_run()
    run_folder = _run_folder(folder, composed)
    settings = build(composed)
    _open_source(settings)
    finished = experiment.run(
        settings, run_folder, quiet=quiet, callbacks=callbacks, on_result=_printer(quiet)
    )
    return Run.of(finished)


def _open_source(settings: Settings) -> None:
    """Make the folder of the job whose weights the training starts from, if it is in a pack."""
    if settings.init_from is not None:
        from mlplab.sweeps.source_job import open_source

        open_source(settings)


def _printer(quiet: bool) -> Callable[[FinishedRun], None] | None:
    """What prints the result of a run as the command line does."""
    if quiet:
        return None
    from mlplab.terminal.results import print_result

    return lambda run: print_result(run.summary)


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
        quiet: False shows a progress bar, and prints the table of the command line at the end.

    The folder stores data of up to 64 MiB, so that all commands work on it. Raises
    mlplab.errors.MlplabError for input that is refused.
    """
    from dataclasses import replace

    from mlplab import experiment
    from mlplab.config.builder import build
    from mlplab.config.composer import Composer, override_list
    from mlplab.data.tabular.arrays_dataset import with_data
    from mlplab.data.tabular.collecting import collect
    from mlplab.interactive import Run

    changes = override_list(overrides)
    data = collect(X, y, sample_weight)
    if resume is not None:
        return _resume(Path(resume), changes, callbacks, quiet, data)
    data_overrides = ["dataset=arrays", f"dataset.data_hash={data.sha256}"]
    composed = Composer([*data_overrides, *changes]).compose_run()
    settings = build(composed)
    settings = replace(settings, dataset=with_data(settings.dataset, data))
    _open_source(settings)
    run_folder = _run_folder(folder, composed)
    finished = experiment.run(
        settings, run_folder, quiet=quiet, callbacks=callbacks, on_result=_printer(quiet)
    )
    return Run.of(finished)


def resume(
    folder: str | Path,
    overrides: Overrides = (),
    *,
    callbacks: Sequence[Callback] = (),
    quiet: bool = True,
) -> Run:
    """Finish an interrupted run from its newest checkpoint, as `mlplab resume` does, and return it.
    Its result is bit-identical to that of an undisturbed run.

    Args:
        folder: the folder of the run.
        overrides: training.epochs=... extends a finished run.
        callbacks: objects that follow the training; see `mlplab.Callback`.
        quiet: False shows a progress bar, and prints the table of the command line at the end.

    A finished run is returned unchanged. A sweep is finished by the same call of `mlplab.sweep`.
    Raises mlplab.errors.MlplabError for input that is refused.
    """
    from mlplab.config.composer import override_list

    return _resume(Path(folder), override_list(overrides), callbacks, quiet)


def _resume(
    folder: Path,
    changes: Sequence[str],
    callbacks: Sequence[Callback],
    quiet: bool,
    data: InMemoryData | None = None,
) -> Run:
    """Finish or extend a run, on data that its folder does not store if it is passed."""
    from dataclasses import replace

    from mlplab import experiment
    from mlplab.config import settings_of_folder
    from mlplab.data.tabular.arrays_dataset import with_data
    from mlplab.interactive import Run
    from mlplab.runs.resume_checks import changed_keys

    settings = settings_of_folder(folder, changes, trains=True)
    if data is not None:
        settings = replace(settings, dataset=with_data(settings.dataset, data))
    allowed = changed_keys(folder, changes)
    finished = experiment.resume(
        folder,
        settings,
        quiet=quiet,
        allowed=allowed,
        callbacks=callbacks,
        on_result=_printer(quiet),
    )
    return Run.of(finished)


def sweep(
    overrides: Overrides = (),
    folder: str | Path | None = None,
    quiet: bool = True,
    callbacks: Sequence[Callback] = (),
) -> DataFrame:
    """Train every job that the overrides describe, as `mlplab train -m` does, and return a
    DataFrame with one row per job: job, status, swept keys, metrics.

    Args:
        overrides: as for `mlplab train -m`: ["experiment=xor_mlp", "optimizer.lr=0.01,0.03",
            "seeds=8"].
        folder: the folder of the sweep; None makes a new one in outputs/. If it already contains
            the same sweep, only its missing jobs are trained.
        quiet: False shows a progress bar, and prints the table of configurations at the end.
        callbacks: objects that follow the training of each population, in this process.

    A notebook shows the configurations, best first. `table.attrs["folder"]` is the folder. Raises
    mlplab.errors.MlplabError for input that is refused, and KeyboardInterrupt if the sweep was
    interrupted; the same call with this folder, or `mlplab resume FOLDER`, then trains the rest.
    """
    from mlplab.config.composer import override_list
    from mlplab.sweeps.python_sweep import to_frame

    return to_frame(
        override_list(overrides), None if folder is None else Path(folder), quiet, callbacks
    )


_SUBMODULES = ("sklearn",)
"""Submodules that are imported when they are first used, as in mlplab.sklearn.MLPClassifier."""


def __getattr__(name: str) -> object:
    if name in ("Callback", "History"):
        from mlplab import training

        return getattr(training, name)
    if name == "Run":
        from mlplab.interactive import Run

        return Run
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
    from mlplab.interactive import Run

    reference = (Path(folder), job) if job is not None else split_job(folder)
    if reference is not None:
        from mlplab.sweeps.open_job import load_job

        return Run.of(load_job(*reference))
    from mlplab.runs.run import load as load_run

    return Run.of(load_run(folder))


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
