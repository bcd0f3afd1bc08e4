"""The command `mlplab`. It imports nothing heavy: torch comes with the first thing that trains.

Exit codes: 0 done, 1 failed, 2 refused input, 3 diverged; 128 and the number of the signal (130 for
Ctrl-C, 143 for SIGTERM) interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mlplab.errors import ConfigError, MlplabError

EXIT_CODES = {"done": 0, "failed": 1, "refused": 2, "diverged": 3, "interrupted": 130}


def exit_code(summary: Mapping[str, Any]) -> int:
    """How the command ends for a run or a sweep with this summary."""
    status = str(summary["status"])
    return (
        128 + int(summary["signal"])
        if status == "interrupted" and summary.get("signal")
        else EXIT_CODES[status]
    )


@dataclass(frozen=True)
class Command:
    """One subcommand: its usage, its line of help, and the function (arguments -> exit code) as
    "module:name".
    """

    usage: str
    help: str
    function: str


COMMANDS = {
    "train": Command(
        "train [KEY=VALUE ...] [-m]",
        "train a network, or with -m one for each combination of values",
        "mlplab.commands.train:train",
    ),
    "plan": Command(
        "plan [KEY=VALUE ...]",
        "print the jobs of a sweep, its populations and what they would cost; run nothing",
        "mlplab.commands.plan:plan",
    ),
    "resume": Command(
        "resume DIR",
        "finish an interrupted run or sweep; with training.epochs=N make a run longer",
        "mlplab.commands.resume:resume",
    ),
    "work": Command(
        "work DIR",
        "help with a sweep that is under way; what sweep.workers and clusters start",
        "mlplab.commands.work:work",
    ),
    "evaluate": Command(
        "evaluate RUN [FILE]",
        "metrics with intervals on the test part or a file, beside plain baselines",
        "mlplab.commands.evaluate:evaluate",
    ),
    "predict": Command(
        "predict DIR FILE -o OUT",
        "predictions for new rows, of a run or the mean of a sweep",
        "mlplab.commands.predict:predict",
    ),
    "export": Command(
        "export DIR",
        "a model as one file: raw columns in, predictions out; ONNX or torch.export",
        "mlplab.commands.export:export",
    ),
    "rerun": Command(
        "rerun RUN [KEY=VALUE ...]",
        "the run again, changed, or with --check compared with itself",
        "mlplab.commands.rerun:rerun",
    ),
    "runs": Command(
        "runs [FOLDER]",
        "what there is below outputs/; `runs compare A B`, `runs remove FOLDER`",
        "mlplab.commands.runs:runs",
    ),
    "report": Command(
        "report DIR",
        "of a run: its pictures and a page that plays it back; of a sweep: its results again",
        "mlplab.commands.report:report",
    ),
    "rebuild-events": Command(
        "rebuild-events RUN",
        "the TensorBoard file of a run again, from metrics.csv",
        "mlplab.commands.rebuild_events:rebuild_events",
    ),
    "draw": Command(
        "draw WHAT",
        "the lecture's figures: activations, losses, schedules, initializers, optimizers",
        "mlplab.commands.draw:draw",
    ),
    "list": Command(
        "list [GROUP [NAME]]",
        "every choice with its meaning; with a name, its keys, defaults and ranges",
        "mlplab.commands.list_choices:list_choices",
    ),
}

_HELP = """\
mlplab: a laboratory for feed-forward networks.

usage: mlplab COMMAND ...

{commands}

A configuration is a choice for each group (optimizer=adam) and values for keys (optimizer.lr=0.01):

  mlplab train experiment=radial_6_6
  mlplab train dataset=spiral model.hidden=16-16 activation=relu training.epochs=500
  mlplab train -m experiment=xor_mlp seed=range(8)

`mlplab train --help` prints all groups and the configuration, `mlplab list` explains them.
MLPLAB_DEBUG=1 shows tracebacks.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. What goes wrong ends in one paragraph on the
    error stream.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stop:
        number = getattr(stop, "signal", 2)
        _complain("interrupted.", "interrupted")
        return 128 + int(number)
    except Exception as error:
        if os.environ.get("MLPLAB_DEBUG") == "1":
            import traceback

            traceback.print_exc()
        if isinstance(error, MlplabError):
            return _complain(str(error), "refused")
        return _complain(
            f"failed: {type(error).__name__}: {error} (MLPLAB_DEBUG=1 shows the traceback)",
            "failed",
        )


def _dispatch(given: list[str]) -> int:
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    if name in ("-h", "--help", "help"):
        width = max(len(command.usage) for command in COMMANDS.values())
        print(
            _HELP.format(
                commands="\n".join(
                    f"  {command.usage:<{width}}  {command.help}" for command in COMMANDS.values()
                )
            )
        )
        return 0
    if name == "--version":
        print(version())
        return 0
    if name in ("-sc", "--shell-completion"):  # what the shell calls while a command line is typed
        name, rest = "train", given
    if name not in COMMANDS:
        raise _unknown_command(name, rest)
    module, _, function = COMMANDS[name].function.partition(":")
    code: int = getattr(import_module(module), function)(rest)
    return code


def version() -> str:
    """ "mlplab 0.1.0"."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return f"mlplab {installed('mlplab')}"
    except PackageNotFoundError:
        return "mlplab (not installed)"


def _unknown_command(name: str, rest: Sequence[str]) -> Exception:
    from mlplab.config.suggestions import did_you_mean

    near = (
        f"Did you mean `mlplab train {' '.join([name, *rest])}`? "
        if "=" in name
        else did_you_mean(name, COMMANDS, "`mlplab {}`")
    )
    return ConfigError(
        f"There is no command `{name}`. {near}Commands: {', '.join(COMMANDS)}. `mlplab --help`"
        " explains them."
    )


def _complain(text: str, status: str) -> int:
    print(f"mlplab: {' '.join(text.split())}", file=sys.stderr)
    return EXIT_CODES[status]
