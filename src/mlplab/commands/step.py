"""`mlplab step RUN|OVERRIDES`: one update by hand, with every number and its formula."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.commands.folder_arguments import (
    CONFIG_DIR_OPTION,
    JSON_OPTION,
    Options,
    Parser,
    check_output,
    existing_folder,
    load_plugins,
    plugin_option,
    require_run,
)
from mlplab.commands.one_configuration import settings_of_overrides
from mlplab.commands.table_output import print_document
from mlplab.config import plugins
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from mlplab.one_step.compute import OneStep
    from mlplab.runs.checkpoints import Saved
    from mlplab.settings import Settings

FIGURES = (".svg", ".png", ".html")
MAX_ROWS = 10_000

OPTIONS: Options = {
    "target": {
        "metavar": "RUN|KEY=VALUE",
        "nargs": "*",
        "help": "the folder of a run, SWEEP:NUMBER, or overrides as for `mlplab train`",
    },
    "--step": {
        "metavar": "N",
        "type": int,
        "default": 1,
        "help": "the update, from 1 (default: the first)",
    },
    "--row": {"metavar": "R", "type": int, "help": "a row of the train split (default: 0)"},
    "--rows": {"metavar": "A-B", "help": "several rows: 0-9, or 0,3,5"},
    "--batch": {"action": "store_true", "help": "the batch that the training takes"},
    "--no-dropout": {"action": "store_true", "help": "drop nothing in this update"},
    **JSON_OPTION,
    "-o --out": {"metavar": "FILE", "type": Path, "help": "draw it: FILE.svg, .png or .html"},
    "--dark": {"action": "store_true", "help": "draw on a dark ground"},
    "--force": {"action": "store_true", "help": "replace FILE"},
    **CONFIG_DIR_OPTION,
    **plugin_option("with plugins"),
}


def step(arguments: Sequence[str]) -> int:
    """Print one update of a network by hand: forward, backward and update with every number and the
    formula that gives it, and a derivative verified by a difference quotient. -o also draws it.
    """
    usage = "`mlplab step RUN` or `mlplab step KEY=VALUE ...`, with --row R, --rows A-B or --batch"
    parser = Parser("step", step.__doc__ or "", usage, OPTIONS)
    args = parser.parse_intermixed_args(list(arguments))
    rows = _rows(args.row, args.rows, args.batch)
    if args.out is not None:
        _check_figure(args.out, args.force)
    settings, saved = _settings(args.target, args.config_dir, args.plugin, args.step)
    from mlplab.one_step.compute import one_step
    from mlplab.runs.initial_weights import with_initial_weights

    settings = with_initial_weights(settings)
    computed = one_step(settings, args.step, rows, not args.no_dropout, saved)
    if args.json:
        from mlplab.one_step.text import document

        print_document("step", document(computed))
    else:
        from mlplab.one_step.text import text_of

        print(text_of(computed))
    if args.out is not None:
        _write(computed, args.out, args.dark)
        print(args.out)
    return 0


def _rows(row: int | None, rows: str | None, batch: bool) -> list[int] | None:
    """The rows of the update, or None for the batch of the training."""
    if (row is not None) + (rows is not None) + batch > 1:
        raise ConfigError("--row, --rows and --batch: choose one of them.")
    if batch:
        return None
    if rows is None:
        return [0 if row is None else row]
    try:
        chosen: list[int] = []
        for text in rows.split(","):
            first, dash, last = text.partition("-")
            numbers = range(int(first), int(last if dash else first) + 1)
            if len(numbers) > MAX_ROWS:
                raise ConfigError(f"--rows {rows}: at most {MAX_ROWS:,} rows; --batch takes more.")
            chosen += numbers
        if not chosen:
            raise ValueError
    except ConfigError:
        raise
    except ValueError:
        raise ConfigError(
            f"--rows {rows}: write rows as 0-9, or as 0,3,5; the first is shown in full."
        ) from None
    return chosen


def _check_figure(out: Path, force: bool) -> None:
    from mlplab.config.run_dir import refuse_links_in_outputs
    from mlplab.extras import require

    if out.suffix not in FIGURES:
        raise ConfigError(f"-o {out}: the name of a figure ends in {', '.join(FIGURES)}.")
    refuse_links_in_outputs(out)
    check_output(out, force, None)
    require("Drawing", "pictures", "matplotlib")


def _settings(
    what: Sequence[str], config_dirs: Sequence[str], plugin_files: Sequence[str], step: int
) -> tuple[Settings, Saved | None]:
    """The settings of a run or of overrides, and a checkpoint of the run at or before the update.

    With overrides, a run is trained anew from its start.
    """
    folders = [text for text in what if "=" not in text]
    overrides = [text for text in what if "=" in text]
    if len(folders) > 1:
        raise ConfigError(f"`mlplab step` takes one run, not {len(folders)}: {', '.join(folders)}.")
    if not folders:
        plugins.load(list(plugin_files))
        return settings_of_overrides("step", overrides, config_dirs), None
    folder = existing_folder(Path(folders[0]), plugin_files)
    require_run(folder, "step")
    load_plugins(folder, plugin_files)
    from mlplab.config import settings_of_folder
    from mlplab.runs.checkpoints import read, steps

    settings = settings_of_folder(folder, overrides)
    checkpoints = folder / "checkpoints"
    earlier = [] if overrides else [number for number in steps(checkpoints) if number < step]
    return settings, read(checkpoints, max(earlier)) if earlier else None


def _write(computed: OneStep, out: Path, dark: bool) -> None:
    from mlplab.io.files import write_bytes_atomic
    from mlplab.one_step.diagram import draw_step
    from mlplab.pictures.style import encoded, style

    with style():
        if out.suffix == ".html":
            from mlplab.one_step.page import page

            data = page(computed).encode()
        else:
            data = encoded(draw_step(computed, dark=dark), out.suffix)
    write_bytes_atomic(out, data)
