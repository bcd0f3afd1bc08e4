"""`mlplab open SWEEP NUMBER`: make the run folder of a packed job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.folder_arguments import Options, load_plugins, parse, require_plan

OPTIONS: Options = {
    "number": {"metavar": "NUMBER", "type": int, "help": "the number of the job"},
    "-o --out": {
        "metavar": "FOLDER",
        "type": Path,
        "help": "the folder to make (default: jobs/NUMBER in that of the sweep)",
    },
}


def open_job(arguments: Sequence[str]) -> int:
    """Make the run folder of a job that is stored in a pack of its sweep, with all files of a run
    but its pictures, which `mlplab report` draws. SWEEP:NUMBER in place of a folder does the same
    for other commands.
    """
    args = parse("open", open_job.__doc__ or "", arguments, OPTIONS)
    require_plan(args.folder)
    load_plugins(args.folder, args.plugin)
    from mlplab.sweeps import open_job as opening

    print(opening.open_job(args.folder, args.number, args.out))
    return 0
