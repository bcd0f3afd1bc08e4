"""`mlplab compare DIR DIR ...`: sweeps and runs side by side, by configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.folder_arguments import (
    Options,
    Parser,
    existing_folder,
    kind,
    load_plugins,
    plugin_option,
)
from mlplab.commands.table_output import TABLE_OPTIONS, asks_for_table, print_table
from mlplab.errors import ConfigError

OPTIONS: Options = {
    "folder": {
        "metavar": "DIR",
        "nargs": "+",
        "type": Path,
        "help": "a folder, or SWEEP:NUMBER for a job",
    },
    **plugin_option("with plugins that a run or sweep used"),
    **TABLE_OPTIONS,
}


def compare(arguments: Sequence[str], name: str = "compare") -> int:
    """Compare sweeps and runs by configuration: one row for each combination of the values in which
    they differ, best first, with the difference to the best over the seeds that both share. Two
    runs are shown side by side, with all their metrics.
    """
    usage = f"`mlplab {name} DIR DIR ...`, with the folders of runs and sweeps"
    parser = Parser(name, compare.__doc__ or "", usage, OPTIONS)
    args = parser.parse_intermixed_args(list(arguments))
    args.folder = [existing_folder(folder, args.plugin) for folder in args.folder]
    kinds = [kind(folder) for folder in args.folder]
    if kinds == ["run"]:
        raise ConfigError(
            f"{args.folder[0]} is a single run: name another run or a sweep to compare it with."
        )
    for folder in args.folder:
        load_plugins(folder, args.plugin)
    if kinds == ["run", "run"] and not asks_for_table(args):
        from mlplab.runs.compare import side_by_side

        print(*side_by_side(*args.folder), sep="\n")
        return 0
    from mlplab.sweeps.report.sources import merged, read_source

    print_table(merged([read_source(folder) for folder in args.folder]), args)
    return 0
