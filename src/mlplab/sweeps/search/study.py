"""An Optuna study in a sweep's folder: it proposes trials, receives their results, and persists
both.
"""

from __future__ import annotations

import copy
import errno
import itertools
import math
import sqlite3
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab import metrics
from mlplab.config.search_space import Dimension, choose, combinations
from mlplab.errors import ConfigError, DamagedFileError
from mlplab.extras import require
from mlplab.io.files import write_bytes_atomic
from mlplab.io.links import refuse_links
from mlplab.sweeps.search.samplers import make_sampler

if TYPE_CHECKING:
    import optuna

FILE = "study.db"


def require_optuna(sampler: str = "tpe") -> None:
    """Raise MissingExtraError if Optuna, or another package this sampler needs, is missing."""
    require("A search", "search", "optuna")
    if sampler == "cmaes":
        require("sweep.sampler=cmaes", "search", "cmaes")


@contextmanager
def _naming_failures(path: Path) -> Iterator[None]:
    """Raise OSError if SQLite cannot write the database, as on a full disk, and DamagedFileError if
    the file is none: both name it, which the exceptions of Optuna and SQLAlchemy do not.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, sqlite3.DatabaseError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, sqlite3.OperationalError):
            raise OSError(errno.EIO, str(cause), str(path)) from error
        if cause is not None:
            raise DamagedFileError(
                path, str(cause), "Restore the file from a copy, or start the search anew."
            ) from error
        raise


def _url(path: Path) -> str:
    return f"sqlite:///{path.resolve()}"


@cache
def _empty_database() -> bytes:
    """A database with Optuna's tables. Making them takes ten times as long as copying the file,
    which is complete when it appears.
    """
    import optuna

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        optuna.storages.RDBStorage(_url(path)).engine.dispose()
        return path.read_bytes()


class Study:
    """The trials of a search, by number. Opening the same folder again restores them all, those
    in flight included.

    Each trial is proposed by a sampler with a seed of its own, which depends on the number of the
    trial alone: a search that was killed proposes what it would have proposed otherwise, except by
    CMA-ES, whose state is not stored.

    The samplers work on a copy in memory, since they read all trials for every value that they
    propose. The database receives each trial when it is proposed and when it ends, and is the
    source of truth after a kill.
    """

    def __init__(
        self,
        folder: Path,
        objectives: Sequence[str],
        space: Sequence[Dimension],
        sampler: str,
        seed: int,
        attributes: Mapping[str, object] | None = None,
    ) -> None:
        require_optuna(sampler)
        # SQLite would write through links
        refuse_links(folder / f"{FILE}{suffix}" for suffix in ("", "-journal", "-wal", "-shm"))
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.objectives, self._grid = tuple(space), tuple(objectives), sampler == "grid"
        self._path, self._seed = folder / FILE, seed
        with warnings.catch_warnings(action="ignore"), _naming_failures(self._path):
            options: dict[str, Any] = {
                "study_name": "mlplab",
                "directions": ["maximize" if sign < 0 else "minimize" for sign in self.signs],
            }
            if new := not self._path.exists():
                write_bytes_atomic(self._path, _empty_database())
            self._stored_study = optuna.create_study(
                storage=optuna.storages.RDBStorage(
                    _url(self._path), skip_compatibility_check=new, skip_table_creation=new
                ),
                load_if_exists=True,
                **options,
            )
            self._describe(attributes or {})
            stored_trials = [
                _without_pickles(trial) for trial in self._stored_study.get_trials(deepcopy=False)
            ]
            finished = [
                trial for trial in stored_trials if trial.values and not _has_diverged(trial)
            ]
            self._make_sampler = partial(make_sampler, sampler, self.space, finished)
            self._study = optuna.create_study(
                storage=optuna.storages.InMemoryStorage(),
                sampler=self._make_sampler(seed),
                **options,
            )
            self._study.add_trials(stored_trials)

    def _describe(self, attributes: Mapping[str, object]) -> None:
        """Store the names of the objectives and the attributes, which Optuna's dashboard shows.

        Raises ConfigError if the study has others: its values would be of two kinds.
        """
        study = self._stored_study
        if study.metric_names is None:
            study.set_metric_names(list(self.objectives))
        stored = {"objectives": tuple(study.metric_names or ()), **study.user_attrs}
        for name, value in {"objectives": self.objectives, **attributes}.items():
            if name not in stored:
                study.set_user_attr(name, value)
            elif stored[name] != value:
                raise ConfigError(
                    f"The trials in {self._path} have {name} {_shown(stored[name])}, and this"
                    f" search has {_shown(value)}: start it in another folder, or with the same"
                    " configuration as before."
                )

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Return all trials, in the order of their numbers."""
        return list(self._study.get_trials(deepcopy=False))

    def params(self, number: int) -> dict[str, object]:
        """Return the parameters of a trial, in the order of the space."""
        params = self.trials()[number].params
        return {one.name: params[one.name] for one in self.space if one.name in params}

    def in_flight(self) -> dict[int, dict[str, object]]:
        """Return the parameters of each trial that was proposed and has not ended, by number."""
        return {
            trial.number: self._params(self._open_trial(self._study, trial.number))
            for trial in self.trials()
            if trial.state.name == "RUNNING"
        }

    def ask(self, number: int) -> dict[int, dict[str, object]]:
        """Propose up to `number` new trials: number -> parameters; fewer at the end of a grid."""
        if self._grid:
            start = len(self.trials())
            grid_points = list(itertools.islice(combinations(self.space), start, start + number))
            for params in grid_points:
                self._study.enqueue_trial(params)
            number = len(grid_points)
        return dict(self._ask_one() for _ in range(number))

    def _ask_one(self) -> tuple[int, dict[str, object]]:
        with warnings.catch_warnings(action="ignore"):
            number = len(self.trials())
            self._study.sampler = self._make_sampler((self._seed + 7919 * number) % 2**32)
            trial = self._study.ask()
            params = self._params(trial)
            with _naming_failures(self._path):
                self._stored_study.add_trial(_without_pickles(self.trials()[trial.number]))
        return trial.number, params

    @staticmethod
    def _open_trial(study: optuna.Study, number: int) -> optuna.trial.Trial:
        import optuna

        return optuna.trial.Trial(
            study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        )

    def _params(self, trial: optuna.trial.Trial) -> dict[str, object]:
        with warnings.catch_warnings(action="ignore"):
            return choose(self.space, lambda dimension: _suggest(trial, dimension))

    def tell(
        self,
        number: int,
        status: str,
        values: Sequence[float],
        reason: str = "",
        epoch: int = 0,
        attributes: Mapping[str, object] | None = None,
    ) -> None:
        """Record how a trial ended: done with its objectives, pruned with the metric at `epoch`, or
        diverged with an infinitely bad value of each objective, so that samplers avoid its region.

        Any other status is recorded as a failure, which samplers ignore. `attributes` are stored
        with the trial.
        """
        from optuna.trial import TrialState

        finite = bool(values) and all(math.isfinite(value) for value in values)
        end: dict[str, Any] = {
            "state": TrialState.PRUNED if status == "pruned" else TrialState.FAIL
        }
        if status == "done" and finite:
            end = {"values": list(values)}
        elif status == "diverged":
            end = {"values": [_worst(objective) for objective in self.objectives]}
        for study in (self._stored_study, self._study):
            with _naming_failures(self._path):
                trial = self._open_trial(study, number)
                for name, value in {"status": status, **(attributes or {})}.items():
                    trial.set_user_attr(name, value)
                if reason:
                    trial.set_user_attr("reason", reason)
                if status == "pruned" and finite and len(values) == 1:
                    trial.report(values[0], epoch)
                study.tell(number, **end, skip_if_finished=True)

    def statuses(self) -> list[str]:
        """Return how each trial that has ended did: done, diverged, failed, pruned."""
        return [
            str(trial.user_attrs.get("status"))
            for trial in self.trials()
            if trial.state.is_finished()
        ]

    def counts(self) -> dict[str, int]:
        """Return the number of trials in each state of Optuna; diverged ones are counted apart."""
        return Counter(
            "diverged" if _has_diverged(trial) else trial.state.name.lower()
            for trial in self.trials()
        )

    @property
    def optuna_study(self) -> optuna.Study:
        """The study with all trials, in memory."""
        return self._study

    @property
    def signs(self) -> list[int]:
        """-1 for each objective to maximize, 1 for each to minimize."""
        return [-1 if metrics.direction(name) == "max" else 1 for name in self.objectives]

    def jobs_of(self, number: int) -> list[int]:
        """Return the numbers of the jobs over which a trial that has ended is a mean."""
        return [int(job) for job in self.trials()[number].user_attrs.get("jobs", ())]

    def best_first(self, limit: int) -> list[int]:
        """Return up to `limit` trials that were trained to their ends and differ in their
        parameters, best first: by the value, or by the Pareto front that they are on and then by
        the first objective.
        """
        losses = {
            trial.number: tuple(
                sign * value for sign, value in zip(self.signs, trial.values, strict=True)
            )
            for trial in self.trials()
            if trial.state.name == "COMPLETE" and not _has_diverged(trial)
        }
        params = {number: repr(self.trials()[number].params) for number in losses}
        distinct = {params[number]: number for number in reversed(losses)}
        remaining = {number: losses[number] for number in sorted(distinct.values())}
        chosen: list[int] = []
        while remaining and len(chosen) < limit:
            front = pareto_front(remaining)
            chosen += sorted(front, key=lambda number: (remaining[number], number))
            remaining = {n: loss for n, loss in remaining.items() if n not in front}
        return chosen[:limit]

    def best(self) -> list[int]:
        """Return the number of the best trial, or with several objectives the Pareto front.

        Empty if no trial was trained to its end.
        """
        if not any(
            trial.state.name == "COMPLETE" and not _has_diverged(trial) for trial in self.trials()
        ):
            return []
        if len(self.objectives) > 1:
            return sorted(trial.number for trial in self._study.best_trials)
        return [int(self._study.best_trial.number)]

    def values(self, numbers: Iterable[int]) -> dict[int, list[float]]:
        """Return the objectives of these trials; empty for a trial that has none."""
        return {number: list(self.trials()[number].values or ()) for number in numbers}


def _without_pickles(trial: optuna.trial.FrozenTrial) -> optuna.trial.FrozenTrial:
    """The trial without the state of Optuna's CMA-ES sampler, which is a pickle: the sampler loads
    it from any trial that has one, whoever wrote the database.
    """
    pickled = [name for name in trial.system_attrs if name.startswith("cma")]
    if not pickled:
        return trial
    trial = copy.deepcopy(trial)
    trial.system_attrs = {
        name: value for name, value in trial.system_attrs.items() if name not in pickled
    }
    return trial


def pareto_front(losses: Mapping[int, Sequence[float]]) -> set[int]:
    """Return the numbers whose losses no other dominates: none is better in one and as good in all.

    Equal losses are all on the front.
    """
    best: list[Sequence[float]] = []
    for loss in sorted(set(map(tuple, losses.values()))):  # a dominating one comes first
        if not any(all(a <= b for a, b in zip(one, loss, strict=True)) for one in best):
            best.append(loss)
    return {number for number, loss in losses.items() if tuple(loss) in best}


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _has_diverged(trial: optuna.trial.FrozenTrial) -> bool:
    return bool(trial.user_attrs.get("status") == "diverged")


def _worst(objective: str) -> float:
    return -math.inf if metrics.direction(objective) == "max" else math.inf


def _suggest(trial: optuna.trial.Trial, dimension: Dimension) -> object:
    if dimension.choices:
        return trial.suggest_categorical(dimension.name, list(dimension.choices))
    if dimension.is_integer:
        step = {} if dimension.log else {"step": int(dimension.step or 1)}
        return int(
            trial.suggest_int(
                dimension.name, int(dimension.low), int(dimension.high), log=dimension.log, **step
            )
        )
    return float(
        trial.suggest_float(
            dimension.name, dimension.low, dimension.high, step=dimension.step, log=dimension.log
        )
    )
