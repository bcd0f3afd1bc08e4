"""`mlplab export DIR`: export a run, or the mean of a sweep's jobs, for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.folder_arguments import (
    OUTPUT_OPTIONS,
    Options,
    check_output,
    kind,
    load_plugins,
    parse,
)

SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}


OPTIONS: Options = {
    "--format": {
        "choices": tuple(SUFFIX),
        "default": "onnx",
        "help": "ONNX, or a program of torch.export (default: onnx)",
    },
    "-o --out": {
        "metavar": "OUT",
        "type": Path,
        "help": "the file (default: model.onnx or model.pt2 in the folder)",
    },
    **OUTPUT_OPTIONS,
}


def export(arguments: Sequence[str]) -> int:
    """Write a run, or the mean of a sweep's jobs, as one file that maps raw columns to
    predictions, encoders and scalers included.

    The file is loaded again and compared with the run on random and edge rows; the largest
    difference is printed.
    """
    args = parse("export", export.__doc__ or "", arguments, OPTIONS)
    kind(args.folder)
    out: Path = args.out or args.folder / f"model{SUFFIX[args.format]}"
    check_output(out, args.force, args.best)
    load_plugins(args.folder, args.plugin)
    from mlplab.export import files
    from mlplab.export.columns import inputs
    from mlplab.sweeps.open_job import predictor as load_predictor

    predictor = load_predictor(args.folder, args.best)
    difference = files.export(predictor, args.format, out)
    for column in inputs(predictor.runs):
        print(f"  {column.name}: {_describe(column.kind, column.width)}")
    members = f"the mean of {len(predictor.runs)} runs" if len(predictor.runs) > 1 else "the run"
    print(
        f"equals {members} on {files.ROWS:,} random and edge rows: the largest difference is"
        f" {difference:.2g}"
    )
    print(out)
    return 0


def _describe(kind: str, width: int) -> str:
    from mlplab.terminal.output import count

    return {
        "features": f"{count(width, 'feature')}, float64 [rows, {width}]",
        "category": ("category: string [rows, 1], empty if missing; in the torch format its code"),
        "date": (
            "date: seconds since 1970-01-01 00:00 in its local time, float64 [rows, 1], NaN if"
            " missing"
        ),
    }.get(kind, f"{kind}: float64 [rows, 1], NaN if missing")
