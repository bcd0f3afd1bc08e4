"""`mlplab export DIR`: a run, or the mean of a sweep's jobs, as one file for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.folder_arguments import kind, load_plugins, parse
from mlplab.errors import ConfigError

SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}


def export(arguments: Sequence[str]) -> int:
    """Write a run, or the mean of a sweep's jobs, as one file: raw columns in, predictions out,
    encoders and scalers inside.

    The file is loaded again and asked for random and edge rows; the largest difference from the run
    itself is told.
    """
    given = parse("export", export.__doc__ or "", arguments, _options)
    kind(given.folder)
    out: Path = given.out or given.folder / f"model{SUFFIX[given.format]}"
    if out.exists() and not given.force:
        raise ConfigError(
            f"{out} is there already: choose another name with -o, or replace it with --force."
        )
    if not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written: there is no folder {out.parent}.")
    if given.best is not None and given.best < 1:
        raise ConfigError(f"--best {given.best}: at least one job is needed.")
    load_plugins(given.folder, given.plugin)
    from mlplab.export.columns import inputs
    from mlplab.export.files import ROWS
    from mlplab.export.files import export as write
    from mlplab.runs.ensemble import Predictor

    predictor = Predictor.from_folder(given.folder, given.best)
    found = write(predictor, given.format, out)
    for one in inputs(predictor.runs):
        print(f"  {one.name}: {_what(one.kind, one.width)}")
    members = f"the mean of {len(predictor.runs)} runs" if len(predictor.runs) > 1 else "the run"
    print(
        f"equals {members} on {ROWS:,} random and edge rows: the largest difference is {found:.2g}"
    )
    print(out)
    return 0


def _what(kind: str, width: int) -> str:
    return {
        "features": f"{width} features, float64 [rows, {width}]",
        "category": (
            "category: text [rows, 1], empty where there is none; in the torch format its code"
        ),
        "date": (
            "date: seconds since 1970-01-01 00:00 of its own clock, float64 [rows, 1], NaN where"
            " empty"
        ),
    }.get(kind, f"{kind}: float64 [rows, 1], NaN where empty")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=tuple(SUFFIX),
        default="onnx",
        help="ONNX, or a program of torch.export (onnx)",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        type=Path,
        help="the file (model.onnx or model.pt2 in the folder)",
    )
    parser.add_argument(
        "--best",
        metavar="N",
        type=int,
        help="of a sweep: only the N best jobs by their validation loss",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT")
