"""`mlplab mirror DIR --to mlflow`: send runs and sweeps to experiment trackers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.commands.folder_arguments import (
    Options,
    Parser,
    kind,
    plugin_option,
    require_plan,
)
from mlplab.config.run_dir import split_job
from mlplab.errors import ConfigError, MlplabError

if TYPE_CHECKING:
    from mlplab.mirroring.sending import Mirror

OPTIONS: Options = {
    "folder": {
        "metavar": "DIR",
        "nargs": "+",
        "type": Path,
        "help": "the folder of a run or a sweep, or SWEEP:NUMBER for a job",
    },
    "--to": {
        "metavar": "TRACKER",
        "action": "append",
        "default": [],
        "help": (
            "mlflow, wandb, or one of a plugin; may be repeated (default: what the run has in"
            " tracking.mirror)"
        ),
    },
    "--weights": {
        "action": "store_true",
        "help": "send weights.safetensors too",
    },
    "--follow": {"action": "store_true", "help": argparse.SUPPRESS},
    **plugin_option("that registers a tracker"),
}


def mirror(arguments: Sequence[str]) -> int:
    """Send runs and sweeps to experiment trackers: configuration, evaluations, final numbers,
    pictures and reports. What a tracker has already is not sent again. MLflow writes into
    outputs/mlflow.db unless MLFLOW_TRACKING_URI is set, and Weights & Biases into outputs/wandb
    unless WANDB_MODE is set.
    """
    usage = "`mlplab mirror DIR --to TRACKER`, with the folders of runs and sweeps"
    parser = Parser("mirror", mirror.__doc__ or "", usage, OPTIONS)
    args = parser.parse_intermixed_args(list(arguments))
    from mlplab.config import plugins

    if args.follow:
        plugins.load(args.plugin)
        from mlplab.mirroring.follow import follow
        from mlplab.mirroring.process import check_trackers

        check_trackers(args.to, "--to")
        return follow(args.folder[0], args.to[0])
    selected = [(folder, *_selected(folder)) for folder in args.folder]
    plugins.load(args.plugin)
    from mlplab.mirroring.process import check_trackers

    for shown, folder, number in selected:
        names = list(dict.fromkeys(args.to or _configured(folder)))
        if not names:
            raise ConfigError(
                f"{shown} names no tracker in its tracking.mirror: choose one, as in `mlplab"
                f" mirror {shown} --to mlflow`."
            )
        check_trackers(names, "--to")
        for name in names:
            _send(shown, folder, number, name, args.weights)
    return 0


def _selected(path: Path) -> tuple[Path, int | None]:
    """The folder that an argument names, and the number of the job if it is one of a sweep."""
    reference = split_job(path)
    absolute = path.absolute()
    if reference is None and absolute.parent.name == "jobs" and absolute.name.isdecimal():
        sweep = absolute.parent.parent
        if (sweep / "plan.yaml").is_file():
            reference = path.parent.parent, int(path.name)
    if reference is None:
        kind(path)
        return path, None
    sweep, number = reference
    require_plan(sweep)
    return sweep, number


def _configured(folder: Path) -> list[str]:
    from mlplab.runs.flat_config import flat_config
    from mlplab.runs.plan_text import PlannedConfigs

    configs = PlannedConfigs(str(folder))
    config = configs.find(configs.numbers[0]) if configs.numbers else flat_config(folder)
    names = config.get("tracking.mirror")
    return [str(name) for name in names] if isinstance(names, list) else []


def _send(shown: Path, folder: Path, number: int | None, name: str, weights: bool) -> None:
    """Send what one tracker lacks, and print what that was. Raises ConfigError if it fails."""
    from mlplab.mirroring.sending import Mirror
    from mlplab.mirroring.state import locked
    from mlplab.terminal.output import note

    waiting: list[str] = []

    def wait() -> None:
        if not waiting:
            waiting.append(name)
            note(f"another process sends {folder} to {name}, as during a training; waiting for it")

    with locked(folder, name, wait):
        mirror = Mirror(folder, name, only=number, weights=weights)
        if number is not None and not mirror.has_job(number):
            raise ConfigError(f"{folder} has no job {number} that has ended.")
        try:
            mirror.sync(ended=True)
        except MlplabError:
            raise
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            raise ConfigError(
                f"{name} at {mirror.target} does not take what is in {shown}: {text}. The same"
                " command sends the rest later."
            ) from error
    print(f"{shown}: {_report(mirror)} sent to {name} ({mirror.target})")


def _report(mirror: Mirror) -> str:
    from mlplab.terminal.output import count

    counts = mirror.counts
    if not counts.evaluations and not counts.artifacts:
        return "nothing new to be"
    return f"{count(counts.evaluations, 'evaluation')} and {count(counts.artifacts, 'file')}"
