"""`mlplab plan`: print the jobs and populations of a command line and their cost, without running
or writing anything.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mlplab.commands import flags as flags_module
from mlplab.commands.table_output import print_document
from mlplab.config import plugins
from mlplab.config.suggestions import listing
from mlplab.errors import ConfigError
from mlplab.terminal.output import count, duration
from mlplab.terminal.table import aligned

if TYPE_CHECKING:
    from mlplab.sweeps.plan.cost import Estimate
    from mlplab.sweeps.plan.plan import Job, Plan

MAX_ROWS = 20
MIN_SLOWDOWN = 1.2
"""By other programs, that is worth a word."""


def plan(arguments: Sequence[str]) -> int:
    """Print the jobs of a command line, how they train together, and what they cost. Nothing is
    trained or written.

    Raises ConfigError for invalid jobs.
    """
    flags = flags_module.parse(arguments)
    if flags.hydra:
        raise ConfigError(
            "`mlplab plan` prints the jobs of a command line and does not support"
            f" {listing(flags.hydra)}."
        )
    if flags.link is not None:
        raise ConfigError(
            "--from-link is for `mlplab train`, whose first line has the overrides of the link:"
            " `mlplab plan` takes those."
        )
    plugins.load(flags.plugins)
    begun = time.process_time()
    from mlplab.config.composer import Composer
    from mlplab.runs.recipe_text import recipe_line
    from mlplab.sweeps.plan import plan as planning
    from mlplab.sweeps.plan.contention import Contention
    from mlplab.sweeps.plan.cost import estimate
    from mlplab.sweeps.run_sweep import SweepRequest

    contention = Contention()
    request = SweepRequest(Composer(flags.overrides, flags.config_dirs))
    sweep_plan = planning.make_plan(request.settings, request.options)
    if not flags.json:
        if (recipe := recipe_line(request.settings[0])) is not None:
            print(recipe)
        _print_jobs(sweep_plan)
        print()
    estimated = estimate(sweep_plan, time.process_time() - begun, contention)
    if flags.json:
        print_document("plan", _document(sweep_plan, estimated))
    else:
        _print_costs(sweep_plan, estimated)
    return 0


def _document(sweep_plan: Plan, estimated: Estimate) -> dict[str, object]:
    from mlplab.sweeps.plan.plan import value_of

    return {
        "keys": list(sweep_plan.keys),
        "jobs": [
            {
                "number": job.number,
                "population": population,
                "values": {key: value_of(job, key) for key in sweep_plan.keys},
            }
            for job, population in _with_populations(sweep_plan)
        ],
        "populations": [
            {
                **dataclasses.asdict(population),
                "engine": cost.engine or None,
                "eager_reason": cost.eager_reason or None,
                "work_units": cost.work_units,
                "seconds": cost.seconds,
                "bytes": cost.num_bytes,
            }
            for population, cost in zip(sweep_plan.populations, estimated.costs, strict=True)
        ],
        "seconds": estimated.seconds,
        "seconds_without_other_programs": estimated.seconds / estimated.slowdown,
    }


def _print_costs(sweep_plan: Plan, estimated: Estimate) -> None:
    rows = [
        ["population", "jobs", "parameters", "updates", "memory", "time", "engine", "description"]
    ]
    for population, cost in zip(sweep_plan.populations, estimated.costs, strict=True):
        reasons = [population.apart, population.alone]
        if cost.eager_reason:
            reasons.append(f"engine=eager: {cost.eager_reason}")
        chunks = (
            f" in {cost.work_units} chunks" if cost.work_units > 1 and not population.alone else ""
        )
        rows.append(
            [
                str(population.number),
                f"{population.jobs}{chunks}",
                f"{population.num_parameters:,}",
                f"{population.num_steps:,}",
                cost.memory,
                cost.time,
                cost.engine,
                "; ".join(filter(None, reasons)),
            ]
        )
    print("\n".join(aligned(rows, left=[6, 7])))
    jobs = count(len(sweep_plan.jobs), "job")
    populations = count(len(sweep_plan.populations), "population")
    print(f"{jobs} in {populations}, about {_time(estimated)}. Nothing was run.")


def _time(estimated: Estimate) -> str:
    """The time of the whole sweep, such as "2 min 05 s here, 55 s without other programs"."""
    text = f"{duration(estimated.seconds)} here"
    if estimated.slowdown > MIN_SLOWDOWN:
        text += f", {duration(estimated.seconds / estimated.slowdown)} without other programs"
    return text


def _with_populations(sweep_plan: Plan) -> Iterator[tuple[Job, int]]:
    """Yield each job with the number of its population."""
    population_of = {
        number: unit.population for unit in sweep_plan.work_units for number in unit.jobs
    }
    return ((job, population_of[job.number]) for job in sweep_plan.jobs)


def _print_jobs(sweep_plan: Plan) -> None:
    from mlplab.sweeps.plan.plan import value_of
    from mlplab.sweeps.report.results import value_text

    rows = [
        [
            str(job.number),
            *(value_text(value_of(job, key)) for key in sweep_plan.keys),
            str(population),
        ]
        for job, population in itertools.islice(_with_populations(sweep_plan), MAX_ROWS)
    ]
    print("\n".join(aligned([["job", *sweep_plan.keys, "population"], *rows], left=[])))
    if len(sweep_plan.jobs) > MAX_ROWS:
        print(f"... and {len(sweep_plan.jobs) - MAX_ROWS} more")
