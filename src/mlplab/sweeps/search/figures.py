"""The figures of a study: those of optuna.visualization, of as many trials as a page can show."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from mlplab.extras import installed

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure

MIN_TRIALS = 5
"""There are no figures of fewer complete trials: an importance or a contour of them is noise."""

MAX_TRIALS = 1000
"""Figures show this many trials at most."""

CONTOUR_PARAMS = 3
"""Contours show the pairs of this many numeric parameters, the most important ones."""


def figures(
    study: optuna.Study, objectives: Sequence[str], best_first: Sequence[int]
) -> dict[str, Figure]:
    """Return the plotly figures by heading, without those for which there is too little data.

    `best_first` are the numbers of trials that were trained to their ends, of which some are shown
    in any case.
    """
    from optuna import logging, visualization

    if len(best_first) < MIN_TRIALS:
        return {}
    # a warning for each diverged trial, which no figure can show
    logging.set_verbosity(logging.ERROR)
    study = _sample(study, best_first)
    numbers = _numbers(study)
    drawn: dict[str, Figure] = {}

    def draw(heading: str, plot: Callable[..., Figure], **options: Any) -> None:
        # too few trials, or no parameter varies
        with suppress(ValueError, RuntimeError), warnings.catch_warnings(action="ignore"):
            drawn[heading] = plot(study, **options)

    if len(objectives) > 1:
        draw("Pareto front", visualization.plot_pareto_front, target_names=list(objectives))
    for i, objective in enumerate(objectives):
        target: dict[str, Any] = {"target_name": objective}
        suffix = ""
        if len(objectives) > 1:
            target["target"] = partial(_value, i)
            suffix = f": {objective}"
        else:
            draw("Course", visualization.plot_optimization_history, **target)
        evaluator = _evaluator(study)
        draw(
            f"Importance{suffix}",
            visualization.plot_param_importances,
            evaluator=evaluator,
            **target,
        )
        draw(f"Slices{suffix}", visualization.plot_slice, **target)
        params = _most_important(study, evaluator, target.get("target"), numbers)
        if len(params) > 1:
            draw(f"Contours{suffix}", visualization.plot_contour, params=params, **target)
        draw(
            f"Parallel coordinates{suffix}",
            visualization.plot_parallel_coordinate,
            **target,
        )
    return drawn


def _value(index: int, trial: optuna.trial.FrozenTrial) -> float:
    return float(trial.values[index])


def _sample(study: optuna.Study, best_first: Sequence[int]) -> optuna.Study:
    """The study with at most MAX_TRIALS trials: the best tenth of that, and others at even
    distances.
    """
    import optuna

    trials = study.get_trials(deepcopy=False)
    if len(trials) <= MAX_TRIALS:
        return study
    kept = set(best_first[: MAX_TRIALS // 10])
    others = [trial.number for trial in trials if trial.number not in kept]
    room = MAX_TRIALS - len(kept)
    kept |= {others[i * len(others) // room] for i in range(room)}
    sample = optuna.create_study(directions=study.directions)
    sample.add_trials([trials[number] for number in sorted(kept)])
    return sample


def _numbers(study: optuna.Study) -> set[str]:
    """The parameters that are numbers: choices have no order for a contour to follow."""
    return {
        name
        for trial in study.get_trials(deepcopy=False)
        for name, distribution in trial.distributions.items()
        if not hasattr(distribution, "choices")
    }


def _evaluator(study: optuna.Study) -> optuna.importance.BaseImportanceEvaluator:
    """fANOVA (Hutter et al. 2014), or PED-ANOVA (Watanabe et al. 2023), which does not need
    scikit-learn, if parameters have conditions: fANOVA leaves those out.
    """
    from optuna import importance

    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    has_conditions = len({frozenset(trial.params) for trial in complete}) > 1
    if has_conditions or not installed("sklearn"):
        return importance.PedAnovaImportanceEvaluator()
    return importance.FanovaImportanceEvaluator(seed=0)


def _most_important(
    study: optuna.Study,
    evaluator: optuna.importance.BaseImportanceEvaluator,
    target: Callable[[optuna.trial.FrozenTrial], float] | None,
    numbers: Collection[str],
) -> list[str]:
    """The numeric parameters whose pairs are drawn; empty if there is too little data."""
    from optuna import importance

    with suppress(ValueError, RuntimeError), warnings.catch_warnings(action="ignore"):
        importances = importance.get_param_importances(study, evaluator=evaluator, target=target)
        return [name for name in importances if name in numbers][:CONTOUR_PARAMS]
    return []
