"""`mlplab plan`: print the jobs and populations of a command line and their cost, without running
or writing anything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlplab.commands import flags as flags_module
from mlplab.config import plugins
from mlplab.config.suggestions import listing
from mlplab.errors import ConfigError
from mlplab.terminal.output import count, duration
from mlplab.terminal.table import aligned

if TYPE_CHECKING:
    from mlplab.sweeps.plan.cost import Estimate

MAX_ROWS = 20
MIN_SLOWDOWN = 1.2
"""By other programs, that is worth a word."""


def plan(arguments: Sequence[str]) -> int:
    """Print the plan and return 0. Raises ConfigError for invalid jobs."""
    flags = flags_module.parse(arguments)
    if flags.hydra:
        raise ConfigError(
            "`mlplab plan` prints the jobs of a command line and does not support"
            f" {listing(flags.hydra)}."
        )
    plugins.load(flags.plugins)
    begun = time.process_time()
    from mlplab.config.composer import Composer
    from mlplab.sweeps.plan import plan as planning
    from mlplab.sweeps.plan.contention import Contention
    from mlplab.sweeps.plan.cost import estimate
    from mlplab.sweeps.run_sweep import SweepRequest

    contention = Contention()
    request = SweepRequest(Composer(flags.overrides, flags.config_dirs))
    sweep_plan = planning.make_plan(request.settings, request.options)
    _print_jobs(sweep_plan)
    print()
    estimated = estimate(sweep_plan, time.process_time() - begun, contention)
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
    return 0


def _time(estimated: Estimate) -> str:
    """The time of the whole sweep, such as "2 min 05 s here, 55 s without other programs"."""
    text = f"{duration(estimated.seconds)} here"
    if estimated.slowdown > MIN_SLOWDOWN:
        text += f", {duration(estimated.seconds / estimated.slowdown)} without other programs"
    return text


def _print_jobs(sweep_plan: object) -> None:
    from mlplab.sweeps.plan.plan import Plan, value_of
    from mlplab.sweeps.report.results import value_text

    assert isinstance(sweep_plan, Plan)
    population_of = {
        number: unit.population for unit in sweep_plan.work_units for number in unit.jobs
    }
    rows = [
        [
            str(job.number),
            *(value_text(value_of(job, key)) for key in sweep_plan.keys),
            str(population_of[job.number]),
        ]
        for job in sweep_plan.jobs[:MAX_ROWS]
    ]
    print("\n".join(aligned([["job", *sweep_plan.keys, "population"], *rows], left=[])))
    if len(sweep_plan.jobs) > MAX_ROWS:
        print(f"... and {len(sweep_plan.jobs) - MAX_ROWS} more")
