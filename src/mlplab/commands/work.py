"""`mlplab work DIR`: one worker of a sweep. `sweep.workers` and the engines start it; started by
hand, it adds a worker to a running sweep.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlplab.commands.folder_arguments import Options, kind, load_plugins, parse
from mlplab.errors import ConfigError

OPTIONS: Options = {
    "--number": {
        "type": int,
        "default": 0,
        "help": "the number of this worker, from 0",
    },
    "--of": {
        "type": int,
        "default": 1,
        "help": "the number of workers",
    },
    "--since": {
        "type": float,
        "help": "seconds since 1970: jobs that failed after this time are not tried again",
    },
}


def work(arguments: Sequence[str]) -> int:
    """Train work units of the plan in a sweep's folder, this worker's share first, until none is
    left. Writes job folders but no report.
    """
    args = parse("work", work.__doc__ or "", arguments, OPTIONS)
    if kind(args.folder) != "sweep" or not (args.folder / "plan.yaml").is_file():
        raise ConfigError(
            f"{args.folder} holds no sweep with a plan, so there is nothing to work on."
        )
    if args.of < 1 or args.number < 0:
        raise ConfigError(
            f"--number {args.number} --of {args.of}: --number counts workers from 0, and --of is"
            " at least 1."
        )
    load_plugins(args.folder, args.plugin)
    from mlplab.sweeps.execution.progress import SweepProgress
    from mlplab.sweeps.execution.runner import Runner
    from mlplab.sweeps.plan.plan_file import read_plan
    from mlplab.sweeps.plan.scheduling import cost, order

    plan = read_plan(args.folder)
    runner = Runner(
        plan,
        args.folder,
        SweepProgress(plan, quiet=True),
        order([cost(plan, unit) for unit in plan.work_units], args.of, args.number),
        args.since,
    )
    runner.run()
    return 128 + (runner.signals.received or 2) if runner.status == "interrupted" else 0
