"""`mlplab find-lr`: try learning rates in short trainings, and suggest one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.commands.folder_arguments import (
    CONFIG_DIR_OPTION,
    JSON_OPTION,
    Options,
    Parser,
    plugin_option,
)
from mlplab.commands.one_configuration import settings_of_overrides
from mlplab.commands.table_output import print_document
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from mlplab.runs.lr_range import LearningRates
    from mlplab.settings import Settings
    from mlplab.training import Callback

FIGURE, DATA = "find_lr.png", "find_lr.json"
MAX_RATES = 1000

OPTIONS: Options = {
    "overrides": {"metavar": "KEY=VALUE", "nargs": "*", "help": "as for `mlplab train`"},
    "--lowest": {"type": float, "metavar": "LR", "help": "the lowest rate (default: 1e-5)"},
    "--highest": {"type": float, "metavar": "LR", "help": "the highest rate (default: 10)"},
    "--rates": {"type": int, "metavar": "N", "help": "number of rates (default: 25)"},
    "--steps": {
        "type": int,
        "metavar": "N",
        "help": "updates with each rate (default: 0.4 of the training)",
    },
    "--seeds": {
        "type": int,
        "metavar": "N",
        "help": "seeds, of which the median counts (default: 3; 1 with engine=eager)",
    },
    "-o --out": {
        "type": Path,
        "metavar": "FOLDER",
        "help": f"write {FIGURE} and {DATA} there; otherwise nothing is written",
    },
    **JSON_OPTION,
    **CONFIG_DIR_OPTION,
    **plugin_option("that registers components"),
}


def find_lr(arguments: Sequence[str]) -> int:
    """Train a configuration for a short time with each of several learning rates, print the losses,
    and suggest a rate. All rates train together, from the same weights and on the same batches.
    """
    usage = "`mlplab find-lr [KEY=VALUE ...] [-o FOLDER]`"
    parser = Parser("find-lr", find_lr.__doc__ or "", usage, OPTIONS)
    args = parser.parse_intermixed_args(list(arguments))
    from mlplab.config import plugins

    plugins.load(args.plugin)
    settings = settings_of_overrides("find-lr", args.overrides, args.config_dir)
    rates = _rates(args)
    for key in ("steps", "seeds"):
        if getattr(args, key) is not None and getattr(args, key) < 1:
            raise ConfigError(f"--{key} {getattr(args, key)}: at least 1 is needed.")
    if args.out is not None:
        _check_out(args.out)
    result = _try(settings, rates, args)
    figure = _write(result, settings, args.out) if args.out is not None else None
    if args.json:
        content = result.to_json() | ({} if figure is None else {"figure": str(figure)})
        print_document("find-lr", content)
    else:
        _print(result)
        if figure is not None:
            print(figure)
    return 0 if result.suggestion is not None else 1


def _rates(args: argparse.Namespace) -> tuple[float, ...]:
    from mlplab.runs import lr_range

    lowest = lr_range.LOWEST if args.lowest is None else args.lowest
    highest = lr_range.HIGHEST if args.highest is None else args.highest
    number = lr_range.NUM_RATES if args.rates is None else args.rates
    if not 0 < lowest < highest < float("inf"):
        raise ConfigError(
            f"--lowest {lowest:g} --highest {highest:g} are no range of learning rates: the lowest"
            " must be above 0 and below the highest."
        )
    if not 3 <= number <= MAX_RATES:
        raise ConfigError(f"--rates {number} is out of range: 3 to {MAX_RATES:,}.")
    return lr_range.spaced(lowest, highest, number)


def _check_out(folder: Path) -> None:
    """Raise ConfigError if the figure cannot be written there."""
    from mlplab.config.run_dir import refuse_links_in_outputs
    from mlplab.extras import require

    require("Drawing", "pictures", "matplotlib", "PIL")
    refuse_links_in_outputs(folder / FIGURE)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"-o {folder} is a file: name a folder.")


def _try(settings: Settings, rates: Sequence[float], args: argparse.Namespace) -> LearningRates:
    from mlplab.runs.lr_range import StepProgress, try_rates
    from mlplab.terminal.progress import Progress

    with Progress(0, "find-lr", quiet=args.json, unit="steps") as bar:

        def follow(steps: int) -> list[Callback]:
            bar.total = steps
            return [StepProgress(bar.update)]

        return try_rates(settings, rates, args.steps, args.seeds, follow)


def _write(result: LearningRates, settings: Settings, folder: Path) -> Path:
    """Write the figure and the numbers; return the path of the figure."""
    from mlplab.io.files import write_bytes_atomic, write_json
    from mlplab.io.links import make_folder
    from mlplab.pictures.lr_range import lr_range
    from mlplab.pictures.style import png, style

    make_folder(folder, Path(folder.anchor or "."))
    title = f"{settings.name}, optimizer={settings.choice('optimizer')}, engine={result.engine}"
    with style():
        write_bytes_atomic(folder / FIGURE, png(lr_range(result, title)))
    write_json(folder / DATA, result.to_json())
    return folder / FIGURE


def _print(result: LearningRates) -> None:
    from mlplab.runs.lr_range import override
    from mlplab.terminal.output import count, digits, duration
    from mlplab.terminal.table import aligned

    suggestion, share_R = result.suggestion, result.diverged_SR.mean(axis=0)
    rows = [["optimizer.lr", result.metric, ""]]
    for rate, loss, share in zip(result.rates, result.losses_R, share_R, strict=True):
        remark = "diverges" if share > 0.5 else "some seeds diverge" if share else ""
        if rate == suggestion:
            remark = "<- suggested"
        rows.append([f"{rate:.3g}", digits(float(loss)) if loss < float("inf") else "-", remark])
    print("\n".join(aligned(rows, left=[2])))
    seeds = len(result.losses_SR)
    print(
        f"\n{count(len(result.rates) * seeds, 'training')} of {count(result.steps, 'step')} (the"
        f" whole one has {result.whole_steps:,}), {count(seeds, 'seed')},"
        f" engine={result.engine}, {duration(result.seconds)}; {result.metric} was"
        f" {digits(result.start)} before."
    )
    if (edge := result.diverges_from) is not None:
        print(f"Most trainings end worse than they began from optimizer.lr={edge:.3g} on.")
    if suggestion is None:
        print(
            "No rate lowers the loss: the network does not learn this, whatever the rate."
            " `debug=overfit` tells whether it can learn ten rows."
        )
        return
    if result.is_at_edge:
        side = "--lowest" if suggestion == result.rates[0] else "--highest"
        print(f"The best rate is the last one that was tried: widen the range with {side}.")
    print(
        "Suggested, in the middle of the lowest losses, smoothed (the configuration has"
        f" {result.lr:.3g}): {override(suggestion)}"
    )
