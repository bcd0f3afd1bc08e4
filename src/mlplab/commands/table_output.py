"""The table of configurations that `mlplab report` and `mlplab compare` print in several forms, and
the JSON documents of all commands.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlplab.commands.folder_arguments import JSON_OPTION, Options
from mlplab.io.files import json_text
from mlplab.terminal import modes
from mlplab.terminal.output import say, terminal_width

if TYPE_CHECKING:
    from mlplab.sweeps.report.results import Results

FORMS = ("markdown", "csv", "json", "latex")
TABLE_OPTIONS: Options = {
    "--metric": {
        "metavar": "METRIC",
        "help": "rank by this metric, such as val/loss",
    },
    "--group-by": {
        "metavar": "KEY",
        "action": "append",
        "default": [],
        "help": "one row for each value of this key: the mean over the others; may be repeated",
    },
    "--markdown": {"action": "store_true", "help": "print the table as Markdown"},
    "--csv": {"action": "store_true", "help": "print all numbers as CSV"},
    **JSON_OPTION,
    "--latex": {"action": "store_true", "help": "print the table as a tabular of LaTeX"},
}


def print_document(kind: str, content: Mapping[str, object]) -> None:
    """Print a JSON document of a kind, with the version of its keys; NaN and infinities as null."""
    modes.write_document(json_text({"format": f"mlplab-{kind}-1", **content}))


def asks_for_table(args: argparse.Namespace, but_json: bool = False) -> bool:
    """Whether the command line has any of the options above, apart from --json with `but_json`."""
    forms = [form for form in FORMS if not (but_json and form == "json")]
    return bool(args.metric or args.group_by or any(getattr(args, form) for form in forms))


def print_table(results: Results, args: argparse.Namespace) -> None:
    """Print the configurations as the options say. Raises ConfigError for a metric or key that
    there is not, and for several forms at once.
    """
    from mlplab.errors import ConfigError
    from mlplab.sweeps.report.regroup import with_groups, with_metric
    from mlplab.terminal.output import note

    forms = [form for form in FORMS if getattr(args, form)]
    if len(forms) > 1:
        raise ConfigError(f"{' and '.join(f'--{form}' for form in forms)}: choose one of them.")
    if not results.metric_names:
        raise ConfigError("No job was trained to its end, so that there is nothing to compare.")
    averaged = ""
    if args.metric:
        results = with_metric(results, args.metric)
    if args.group_by:
        results, averaged = with_groups(results, tuple(dict.fromkeys(args.group_by)))
    if averaged:
        note(averaged)
    if args.json:
        modes.write_document(*_lines(results, "json"))
        return
    for line in _lines(results, forms[0] if forms else "text"):
        say(line, sys.stdout, strict=True)


def _lines(results: Results, form: str) -> list[str]:
    from mlplab.sweeps.report import configuration_table as table
    from mlplab.sweeps.report.conclusions import Conclusions
    from mlplab.sweeps.report.text_table import configuration_lines
    from mlplab.tracking.metrics_file import table_bytes

    conclusions = Conclusions(results)
    if form == "text":
        return configuration_lines(conclusions, terminal_width(sys.stdout), "; --csv prints all")
    if form == "csv":
        text = table_bytes(table.csv_rows(table.records(conclusions))).decode()
    elif form == "json":
        text = json.dumps(table.document(conclusions), indent=1, allow_nan=False)
    else:
        text = table.markdown(conclusions) if form == "markdown" else table.latex(conclusions)
    return text.splitlines()
