"""`mlplab draw WHAT`: the figures of the lecture that need no run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from mlplab.commands.folder_arguments import Options, Parser
from mlplab.config.run_dir import refuse_links_in_outputs
from mlplab.config.suggestions import did_you_mean
from mlplab.errors import ConfigError
from mlplab.extras import require

FIGURES = {
    "activations": "mlplab.pictures.lecture.functions",
    "losses": "mlplab.pictures.lecture.functions",
    "schedules": "mlplab.pictures.lecture.functions",
    "initializers": "mlplab.pictures.lecture.initializers",
    "optimizers": "mlplab.pictures.lecture.optimizers",
}
ANIMATED = ("optimizers",)
SUFFIXES = (".png", ".svg")

OPTIONS: Options = {
    "what": {"metavar": "WHAT", "help": ", ".join([*FIGURES, "all"])},
    "names": {
        "metavar": "NAME",
        "nargs": "*",
        "help": "draw only these, such as `activations sigmoid tanh`, larger if they are few",
    },
    "--out": {
        "metavar": "DIR",
        "type": Path,
        "default": Path("outputs/pictures"),
        "help": "folder for the files (default: outputs/pictures)",
    },
    "-o --file": {
        "metavar": "FILE",
        "type": Path,
        "help": "the file of one figure, FILE.png or FILE.svg, in place of --out",
    },
    "--dark": {"action": "store_true", "help": "draw on a dark ground"},
    "--gif": {
        "action": "store_true",
        "help": "also write animations of the figures that have one",
    },
}


def draw(arguments: Sequence[str]) -> int:
    """Draw a figure of the lecture as PNG or SVG: activations, losses, schedules, initializers,
    optimizers, or all. NAMEs choose from the figure, as in `mlplab draw activations sigmoid tanh`.
    With --gif, also write animations of the figures that have one.
    """
    usage = f"`mlplab draw WHAT [NAME ...]`, with one of: {', '.join(FIGURES)}, all"
    args = Parser("draw", draw.__doc__ or "", usage, OPTIONS).parse_args(list(arguments))
    if args.what != "all" and args.what not in FIGURES:
        raise ConfigError(
            f"There is no figure `{args.what}`."
            f" {did_you_mean(args.what, FIGURES, '`mlplab draw {}`')}Figures:"
            f" {', '.join(FIGURES)}, all."
        )
    require("Drawing", "pictures", "matplotlib", *(["PIL"] if args.gif else []))
    _check_names(args.what, args.names)
    if args.file is not None:
        _check_file(args.what, args.file)
    for name in FIGURES if args.what == "all" else [args.what]:
        _write(name, args.names, args.file or args.out / f"{name}.png", args.dark)
        if args.gif and name in ANIMATED:
            _write_animation(args.names, args.file or args.out / f"{name}.png")
    return 0


def _check_file(what: str, file: Path) -> None:
    """Raise ConfigError unless the file is that of one figure, in a folder that there is."""
    if what == "all":
        raise ConfigError(f"-o {file}: `mlplab draw all` draws several figures: use --out DIR.")
    if file.suffix not in SUFFIXES:
        raise ConfigError(f"-o {file}: the name of a figure ends in {' or '.join(SUFFIXES)}.")
    if not file.parent.is_dir():
        raise ConfigError(f"{file} cannot be written: there is no folder {file.parent}.")


def _check_names(what: str, names: Sequence[str]) -> None:
    """Raise ConfigError if the figure has no panels with these names."""
    if not names:
        return
    if what == "all":
        raise ConfigError("`mlplab draw all` takes no names, since it draws everything.")
    known: tuple[str, ...] = import_module(FIGURES[what]).DRAWN[what]
    for name in names:
        if name not in known:
            suggestion = did_you_mean(name, known, f"`mlplab draw {what} {{}}`")
            raise ConfigError(
                f"`mlplab draw {what}` has no `{name}`. {suggestion}Names: {', '.join(known)}."
            )


def _write(name: str, chosen: Sequence[str], file: Path, dark: bool) -> None:
    from mlplab.io.files import write_bytes_atomic
    from mlplab.pictures.style import darken, encoded, style

    function = getattr(import_module(FIGURES[name]), name)
    refuse_links_in_outputs(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    with style():
        fig = function(tuple(dict.fromkeys(chosen))) if chosen else function()
        fig = darken(fig) if dark else fig
        write_bytes_atomic(file, encoded(fig, file.suffix))
    print(file)


def _write_animation(chosen: Sequence[str], file: Path) -> None:
    from mlplab.pictures.animation import write_gif
    from mlplab.pictures.lecture.optimizers import DRAWN, STEPS, optimizers
    from mlplab.pictures.style import style
    from mlplab.terminal.progress import Progress

    file = file.with_suffix(".gif")
    names = chosen or DRAWN["optimizers"]
    steps = [*range(0, 30), *range(30, STEPS + 1, 3)]
    with style(), Progress(len(steps), file.name, unit="frames") as bar:
        write_gif(file, (optimizers(names, step) for step in steps), bar.update, dpi=55)
    print(file)
