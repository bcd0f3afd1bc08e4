"""The command `mlplab`. It imports nothing heavy: torch is loaded only by commands that train.

Exit codes: 0 done, 1 failed, 2 refused input, 3 diverged; 128 plus the number of the signal if
interrupted (130 for Ctrl-C, 143 for SIGTERM).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mlplab.errors import ConfigError, MlplabError, failure_text
from mlplab.terminal import modes

_LEVELS = {
    "-q": modes.QUIET,
    "--quiet": modes.QUIET,
    "-v": modes.VERBOSE,
    "--verbose": modes.VERBOSE,
}
EXIT_CODES = {"done": 0, "failed": 1, "refused": 2, "diverged": 3, "interrupted": 130}


def exit_code(summary: Mapping[str, Any]) -> int:
    """Return the exit code for a run or sweep with this summary: with debug=overfit, a run that is
    done and has not learned its rows has failed.
    """
    status = str(summary["status"])
    if status == "interrupted" and summary.get("signal"):
        return 128 + int(summary["signal"])
    return EXIT_CODES["failed" if status == "done" and summary.get("learned") is False else status]


@dataclass(frozen=True)
class Command:
    """A subcommand: its usage, its help line, and its function (arguments -> exit code) as
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
        "print the jobs and populations of a sweep and their cost; run nothing",
        "mlplab.commands.plan:plan",
    ),
    "resume": Command(
        "resume [DIR]",
        "finish a run or sweep, or list what is unfinished; training.epochs=N extends a run",
        "mlplab.commands.resume:resume",
    ),
    "find-lr": Command(
        "find-lr [KEY=VALUE ...]",
        "try learning rates in short trainings, and suggest one",
        "mlplab.commands.find_lr:find_lr",
    ),
    "work": Command(
        "work DIR",
        "run one worker of a sweep (normally started for you)",
        "mlplab.commands.work:work",
    ),
    "evaluate": Command(
        "evaluate RUN [FILE]",
        "measure a run on its test split or a file, next to baselines",
        "mlplab.commands.evaluate:evaluate",
    ),
    "explain": Command(
        "explain RUN [FILE]",
        "say which columns matter, how, and in which rows the network errs most",
        "mlplab.commands.explain:explain",
    ),
    "doctor": Command(
        "doctor DIR | KEY=VALUE ...",
        "say why a run or the jobs of a sweep went badly, and what helps",
        "mlplab.commands.doctor:doctor",
    ),
    "predict": Command(
        "predict DIR FILE [-o OUT]",
        "predict new rows with a run, or with the mean of a sweep",
        "mlplab.commands.predict:predict",
    ),
    "export": Command(
        "export DIR",
        "export a model with its preprocessing to ONNX or torch.export",
        "mlplab.commands.export:export",
    ),
    "open": Command(
        "open DIR NUMBER",
        "make the run folder of a job that a large sweep stores in a pack",
        "mlplab.commands.open_job:open_job",
    ),
    "rerun": Command(
        "rerun RUN [KEY=VALUE ...]",
        "repeat a run, optionally changed; --check verifies that it reproduces",
        "mlplab.commands.rerun:rerun",
    ),
    "runs": Command(
        "runs [FOLDER]",
        "list, compare and remove runs",
        "mlplab.commands.runs:runs",
    ),
    "compare": Command(
        "compare DIR DIR",
        "compare sweeps and runs by configuration, with intervals over shared seeds",
        "mlplab.commands.compare:compare",
    ),
    "report": Command(
        "report DIR",
        "redraw a run's pictures and playback page, or rebuild or regroup a sweep's report",
        "mlplab.commands.report:report",
    ),
    "mirror": Command(
        "mirror DIR --to TRACKER",
        "send a finished run or sweep to MLflow or Weights & Biases",
        "mlplab.commands.mirror:mirror",
    ),
    "rebuild-events": Command(
        "rebuild-events DIR",
        "regenerate the TensorBoard files of a run, or of a sweep's configurations",
        "mlplab.commands.rebuild_events:rebuild_events",
    ),
    "draw": Command(
        "draw WHAT",
        "draw a figure of the lecture, such as activations or optimizers",
        "mlplab.commands.draw:draw",
    ),
    "step": Command(
        "step RUN [KEY=VALUE ...]",
        "print and draw one update by hand: forward, backward, update, with every number",
        "mlplab.commands.step:step",
    ),
    "list": Command(
        "list [GROUP [NAME]]",
        "list all choices, or the keys, defaults and ranges of one choice",
        "mlplab.commands.list_choices:list_choices",
    ),
    "schema": Command(
        "schema [-o FILE]",
        "print the JSON Schema of the configuration, for editors",
        "mlplab.commands.schema:schema",
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
Every command has --help, -q (--quiet), -v (--verbose) and -V (--version).
"""


def run_process() -> int:
    """Run the command line of a process that does nothing else; return its exit code.

    What is imported lives to the end: the garbage collector need not look at it each time that 700
    more objects exist, and the interpreter need not take it apart at the end. Both together take
    half as long as importing torch.
    """
    gc.set_threshold(50_000, 20, 100)
    code = main()
    is_watched = sys.gettrace() or sys.getprofile()  # by a program that reports at the end
    if threading.active_count() == 1 and not is_watched:
        with contextlib.suppress(OSError, ValueError):  # streams that nobody reads, or closed ones
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Errors are printed as one paragraph on the error stream.
    """
    open_missing_streams()
    typed = list(sys.argv[1:] if arguments is None else arguments)
    levels = [_LEVELS[token] for token in typed if token in _LEVELS]
    try:
        with modes.printing(levels[-1] if levels else modes.NORMAL, "--json" in typed):
            code = _run([token for token in typed if token not in _LEVELS])
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader closed the pipe
        modes.discard_output()
        return 0


def _run(arguments: list[str]) -> int:
    """Run a command and print its error, if it raises one; return the exit code."""
    try:
        return _dispatch(arguments)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt as stop:
        code = 128 + int(getattr(stop, "signal", 2))
        _print_error(stop, "interrupted.", "interrupted", code)
        return code
    except Exception as error:
        is_failure = not isinstance(error, MlplabError)
        if os.environ.get("MLPLAB_DEBUG") == "1" or (is_failure and modes.is_verbose()):
            import traceback

            traceback.print_exc()
        if not is_failure:
            return _print_error(error, str(error), "refused")
        text = f"failed: {failure_text(error)}"
        return _print_error(
            error, text if modes.is_verbose() else f"{text} (-v shows the traceback)", "failed"
        )


def open_missing_streams() -> None:
    """Replace the standard streams that this process was started without, as by cron or `2>&-`.

    They read as empty and discard what is written. Their descriptors are opened too: the next file
    of a run would otherwise become descriptor 1 or 2, into which C libraries write.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _dispatch(arguments: list[str]) -> int:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
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
    if {"--version", "-V"} & set(arguments):
        print(version())
        return 0
    if name in ("-sc", "--shell-completion"):  # the shell asks for completions
        name, rest = "train", arguments
    if name not in COMMANDS:
        raise _unknown_command(name, rest)
    module, _, function = COMMANDS[name].function.partition(":")
    return int(getattr(import_module(module), function)(rest))


def version() -> str:
    """Return the name and version, such as "mlplab 0.1.0"."""
    from importlib import metadata

    try:
        return f"mlplab {metadata.version('mlplab')}"
    except metadata.PackageNotFoundError:
        return "mlplab (not installed)"


def _unknown_command(name: str, rest: Sequence[str]) -> Exception:
    from mlplab.config.suggestions import did_you_mean

    suggestion = (
        f"Did you mean `mlplab train {' '.join([name, *rest])}`? "
        if "=" in name
        else did_you_mean(name, COMMANDS, "`mlplab {}`")
    )
    return ConfigError(
        f"There is no command `{name}`. {suggestion}Commands: {', '.join(COMMANDS)}."
        " `mlplab --help` describes them."
    )


def _print_error(error: BaseException, text: str, status: str, code: int | None = None) -> int:
    """Print an error as one paragraph to the error stream, and with --json as the document;
    return the exit code.
    """
    from mlplab.terminal.output import plain

    code = EXIT_CODES[status] if code is None else code
    text = " ".join(plain(text).split())
    print(f"mlplab: {text}", file=sys.stderr)
    if modes.lacks_document():
        import json

        described = {"type": type(error).__name__, "message": text, "status": status}
        document = {"format": "mlplab-error-1", "error": {**described, "exit_code": code}}
        modes.write_document(json.dumps(document, indent=2, ensure_ascii=False))
    return code
