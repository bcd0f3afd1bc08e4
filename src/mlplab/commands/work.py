"""`mlplab work DIR`: one worker of a sweep. `sweep.workers` and the engines start it; by hand it
helps a sweep that is under way.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mlplab.commands.folder_arguments import kind, load_plugins, parse
from mlplab.errors import ConfigError


def work(arguments: Sequence[str]) -> int:
    """Train pieces of the plan in a sweep's folder, its own shard first, until nothing is left.
    Writes job folders and no report.
    """
    given = parse("work", work.__doc__ or "", arguments, _options)
    if kind(given.folder) != "sweep" or not (given.folder / "plan.yaml").is_file():
        raise ConfigError(
            f"{given.folder} holds no sweep with a plan: there is nothing to work on."
        )
    if given.of < 1 or given.number < 0:
        raise ConfigError(
            f"--number {given.number} --of {given.of}: a worker has a number from 0, of at least"
            " one."
        )
    load_plugins(given.folder, given.plugin)
    from mlplab.sweeps.execution.progress import SweepProgress
    from mlplab.sweeps.execution.runner import Runner
    from mlplab.sweeps.plan.plan_file import read_plan
    from mlplab.sweeps.plan.scheduling import cost, order

    plan = read_plan(given.folder)
    costs = [cost(plan, piece) for piece in plan.work_units]
    runner = Runner(
        plan,
        given.folder,
        SweepProgress(plan, quiet=True),
        order(costs, given.of, given.number),
        given.since,
    )
    runner.run()
    return 128 + (runner.signals.received or 2) if runner.status == "interrupted" else 0


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--number", type=int, default=0, help="which worker this is, from 0")
    parser.add_argument("--of", type=int, default=1, help="how many there are")
    parser.add_argument(
        "--since",
        type=float,
        help="seconds since 1970: a job that failed after that moment is not tried again",
    )
