"""`mlplab plan`: the jobs and populations of a command line, what they would cost, and nothing run
or written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mlplab.commands import flags as flags_module
from mlplab.config import plugins
from mlplab.config.composition import split_search_path
from mlplab.config.suggestions import listing
from mlplab.errors import ConfigError

MAX_ROWS = 20


def plan(arguments: Sequence[str]) -> int:
    """Print the plan; 0, or 2 where something in it is refused."""
    flags = flags_module.parse(arguments)
    if flags.hydra:
        raise ConfigError(
            "`mlplab plan` prints the jobs of a command line and does not know"
            f" {listing(flags.hydra)}."
        )
    plugins.load(flags.plugins)
    from mlplab.sweeps.hydra_task import Task
    from mlplab.sweeps.plan import plan as planning
    from mlplab.sweeps.plan.cost import estimate

    typed, dirs = split_search_path(flags.overrides, flags.config_dirs)
    task = Task(typed, dirs, flags.plugins)
    made = planning.make_plan(task.settings(task.jobs), task.options, typed, flags.plugins)
    _print_jobs(made)
    print()
    costs = estimate(made)
    rows = [["population", "jobs", "parameters", "updates", "memory", "time", "what it is"]]
    for population, cost in zip(made.populations, costs, strict=True):
        what = f"{population.apart}; {population.alone}" if population.alone else population.apart
        pieces = (
            f" in {cost.work_units} pieces" if cost.work_units > 1 and not population.alone else ""
        )
        rows.append(
            [
                str(population.number),
                f"{population.jobs}{pieces}",
                f"{population.num_parameters:,}",
                f"{population.num_steps:,}",
                cost.memory,
                cost.time,
                what,
            ]
        )
    _print_table(rows, left=(6,))
    total = sum(cost.seconds for cost in costs)
    print(
        f"{_count(len(made.jobs), 'job')} in {_count(len(made.populations), 'population')}, about"
        f" {_duration(total)} here. Nothing was run."
    )
    return 0


def _print_jobs(made: object) -> None:
    from mlplab.sweeps.plan.plan import Plan, value_of

    assert isinstance(made, Plan)
    population_of = {number: piece.population for piece in made.work_units for number in piece.jobs}
    rows = [["job", *made.keys, "population"]]
    for job in made.jobs[:MAX_ROWS]:
        rows.append(
            [
                str(job.number),
                *(_cell(value_of(job, key)) for key in made.keys),
                str(population_of[job.number]),
            ]
        )
    _print_table(rows)
    if len(made.jobs) > MAX_ROWS:
        print(f"... and {len(made.jobs) - MAX_ROWS} more")


def _cell(value: object) -> str:
    return (
        "null"
        if value is None
        else f"{value:g}"
        if isinstance(value, float)
        else str(value).replace(" ", "")
    )


def _print_table(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if i in left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    from mlplab.terminal.output import duration

    return duration(seconds)
