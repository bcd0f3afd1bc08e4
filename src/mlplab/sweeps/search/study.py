"""An Optuna study in a sweep's folder: proposes trials, is told how they ended, and survives
whatever ends the process. Optuna is imported here only.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mlplab import metrics
from mlplab.errors import ConfigError
from mlplab.extras import require
from mlplab.io.links import refuse_links
from mlplab.sweeps.search.space import Dimension, choose, combinations

FILE = "study.db"
SAMPLERS = ("tpe", "random", "grid", "cmaes", "nsga2")


def need(sampler: str = "tpe") -> None:
    """Raise MissingExtraError where Optuna, or what this sampler needs beside it, is not
    installed.
    """
    require("A search", "search", "optuna")
    if sampler == "cmaes":
        require("sweep.sampler=cmaes", "search", "cmaes")


def direction(objective: str) -> Literal["maximize", "minimize"]:
    """ "maximize" or "minimize"."""
    return "maximize" if metrics.direction(objective) == "max" else "minimize"


class Study:
    """Trials by their numbers. Opening the same folder again finds what was there, trials in flight
    among it.

    The samplers work on a copy in memory, since they read all trials for every number that they
    propose; the data base gets each trial as it is proposed and as it is told, and is what counts
    after a kill.
    """

    def __init__(
        self,
        folder: Path,
        objectives: Sequence[str],
        space: Sequence[Dimension],
        sampler: str,
        seed: int,
    ) -> None:
        need(sampler)
        # SQLite would write through them
        refuse_links(folder / f"{FILE}{suffix}" for suffix in ("", "-journal", "-wal", "-shm"))
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.objectives, self._grid = tuple(space), tuple(objectives), sampler == "grid"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            named: dict[str, Any] = {
                "study_name": "mlplab",
                "directions": [direction(one) for one in objectives],
            }
            self._kept = optuna.create_study(
                storage=f"sqlite:///{(folder / FILE).resolve()}", load_if_exists=True, **named
            )
            before = self._kept.get_trials(deepcopy=False)
            # A sampler begins anew when the study is opened again: with the seed alone it would
            # draw what it drew before.
            own = _sampler(sampler, self.space, (seed + 7919 * len(before)) % 2**32)
            self._study = optuna.create_study(
                storage=optuna.storages.InMemoryStorage(), sampler=own, **named
            )
            self._study.add_trials(before)

    def trials(self) -> list[Any]:
        """All, in the order of their numbers."""
        return list(self._study.get_trials(deepcopy=False))

    def in_flight(self) -> dict[int, dict[str, Any]]:
        """Trials that were proposed and not told, with what they chose."""
        import optuna

        running = [
            trial for trial in self.trials() if trial.state == optuna.trial.TrialState.RUNNING
        ]
        return {
            trial.number: self._chosen(self._handle(self._study, trial.number)) for trial in running
        }

    def ask(self, number: int) -> dict[int, dict[str, Any]]:
        """So many new trials: number -> what it chose. Fewer where a grid is at its end."""
        if self._grid:
            known = len(self.trials())
            rest = list(itertools.islice(combinations(self.space), known, known + number))
            for chosen in rest:
                self._study.enqueue_trial(chosen)
            number = len(rest)
        return dict(self._asked() for _ in range(number))

    def _asked(self) -> tuple[int, dict[str, Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self._study.ask()
            chosen = self._chosen(trial)
            self._kept.add_trial(self.trials()[trial.number])
        return trial.number, chosen

    @staticmethod
    def _handle(study: Any, number: int) -> Any:
        import optuna

        return optuna.trial.Trial(
            study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        )

    def _chosen(self, trial: Any) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return choose(self.space, lambda dimension: _suggest(trial, dimension))

    def tell(
        self, number: int, status: str, values: Sequence[float], reason: str = "", epoch: int = 0
    ) -> None:
        """How a trial ended: done with its objectives; pruned with the metric at its last epoch;
        anything else is a failure, which teaches nothing and ends nothing.
        """
        for study in (self._kept, self._study):
            self._tell(study, number, status, values, reason, epoch)

    def _tell(
        self, study: Any, number: int, status: str, values: Sequence[float], reason: str, epoch: int
    ) -> None:
        import optuna

        trial = self._handle(study, number)
        trial.set_user_attr("status", status)
        if reason:
            trial.set_user_attr("reason", reason)
        whole = bool(values) and all(math.isfinite(value) for value in values)
        states = optuna.trial.TrialState
        if status == "done" and whole:
            study.tell(number, list(values), skip_if_finished=True)
        elif status == "pruned":
            if whole and len(values) == 1:
                trial.report(values[0], epoch)
            study.tell(number, state=states.PRUNED, skip_if_finished=True)
        else:
            study.tell(number, state=states.FAIL, skip_if_finished=True)

    def counts(self) -> dict[str, int]:
        """State -> how many trials."""
        found: dict[str, int] = {}
        for trial in self.trials():
            found[trial.state.name.lower()] = found.get(trial.state.name.lower(), 0) + 1
        return found

    def best(self) -> list[int]:
        """The best trial, or of several objectives those of the Pareto front."""
        if len(self.objectives) > 1:
            return sorted(trial.number for trial in self._study.best_trials)
        if not any(trial.state.name == "COMPLETE" for trial in self.trials()):
            return []
        return [int(self._study.best_trial.number)]

    def values(self, numbers: Iterable[int]) -> dict[int, list[float]]:
        """Objectives of finished trials."""
        return {number: list(self.trials()[number].values or ()) for number in numbers}

    def figures(self) -> Mapping[str, Any]:
        """Heading -> plotly figure, as far as there is something to draw."""
        from optuna import visualization

        several = len(self.objectives) > 1
        makers: dict[str, Any] = (
            {"Course": visualization.plot_optimization_history}
            if not several
            else {"Pareto front": visualization.plot_pareto_front}
        )
        makers |= {
            "Importance": visualization.plot_param_importances,
            "Slices": visualization.plot_slice,
        }
        found = {}
        for heading, make in makers.items():
            for place, objective in enumerate(self.objectives):
                own: dict[str, Any] = (
                    {"target_names": list(self.objectives)}
                    if heading == "Pareto front"
                    else {"target_name": objective}
                )
                if several and heading != "Pareto front":
                    own["target"] = lambda trial, place=place: trial.values[place]
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        found[
                            (
                                heading
                                if not several or heading == "Pareto front"
                                else f"{heading}: {objective}"
                            )
                        ] = make(self._study, **own)
                except (ValueError, RuntimeError):
                    continue  # too few trials, or nothing that varies
                if heading == "Pareto front":
                    break
        return found


def _suggest(trial: Any, dimension: Dimension) -> Any:
    if dimension.choices:
        return trial.suggest_categorical(dimension.name, list(dimension.choices))
    if dimension.whole:
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


def _sampler(name: str, space: Sequence[Dimension], seed: int) -> Any:
    from optuna import samplers

    is_continuous = [dimension.name for dimension in space if dimension.is_continuous]
    if name == "grid" and is_continuous:
        raise ConfigError(
            f"sweep.sampler=grid tries every value, and {is_continuous[0]} is an interval: give it"
            " values, or another sampler."
        )
    if name in ("random", "grid"):  # a grid's trials are put into the study as they are
        return samplers.RandomSampler(seed=seed)
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=seed)
    if name == "nsga2":
        return samplers.NSGAIISampler(seed=seed)
    return samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
