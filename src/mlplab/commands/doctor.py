"""`mlplab doctor RUN|SWEEP|OVERRIDES`: why a training went badly, and what helps."""

from __future__ import annotations

import shlex
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.commands.folder_arguments import (
    JSON_OPTION,
    Options,
    Parser,
    existing_folder,
    kind,
    load_plugins,
    plugin_option,
)
from mlplab.commands.one_configuration import settings_of_overrides
from mlplab.commands.table_output import print_document
from mlplab.config.override_lines import key_of
from mlplab.errors import ConfigError
from mlplab.io.files import json_text
from mlplab.terminal import modes
from mlplab.terminal.output import note

if TYPE_CHECKING:
    from mlplab.doctor import Diagnosis, Finding
    from mlplab.runs.run import Run

OPTIONS: Options = {
    "target": {
        "metavar": "RUN",
        "nargs": "+",
        "help": "the folder of a run or a sweep, SWEEP:NUMBER, or overrides, which are trained",
    },
    "--try": {
        "dest": "tries",
        "action": "store_true",
        "help": "train the run as it is and with what helps, with several seeds, and show both",
    },
    "--seeds": {
        "type": int,
        "default": 4,
        "metavar": "N",
        "help": "seeds that --try trains of each (default: 4)",
    },
    **JSON_OPTION,
    "-o --out": {
        "metavar": "FOLDER",
        "type": Path,
        "help": "for overrides: the folder of the run (default: a temporary one)",
    },
    **plugin_option("with plugins that the run or sweep used"),
}
_USAGE = (
    "`mlplab doctor DIR`, with the folder of a run or a sweep, or `mlplab doctor KEY=VALUE ...`"
)


def doctor(arguments: Sequence[str]) -> int:
    """Say why a run, the jobs of a sweep, or the run that overrides describe did not learn well:
    findings with the numbers behind them, and the overrides that help. The exit code is 0 with
    findings, too.
    """
    parser = Parser("doctor", doctor.__doc__ or "", _USAGE, OPTIONS)
    args = parser.parse_intermixed_args(list(arguments))
    if args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: at least one seed is needed.")
    if len(args.target) == 1 and _names_folder(args.target[0]):
        if args.out is not None:
            raise ConfigError("--out is for overrides, which are trained: a folder has its run.")
        folder = existing_folder(Path(args.target[0]), args.plugin)
        if kind(folder) == "sweep":
            return _sweep(folder, args.plugin, args.json, args.tries)
        load_plugins(folder, args.plugin)
        return _run(folder, args.json, args.seeds if args.tries else 0)
    if folders := [text for text in args.target if _names_folder(text)]:
        raise ConfigError(
            f"`mlplab doctor` takes the folder of one run or sweep, or overrides, not {folders[0]}"
            " and more. `mlplab rerun` trains a run with overrides."
        )
    return _overrides(args)


def _names_folder(text: str) -> bool:
    return "=" not in text or Path(text).is_dir()


def _overrides(args: Any) -> int:
    """Train a run in a temporary folder, or in that of --out, and diagnose it."""
    from mlplab.config import plugins

    plugins.load(args.plugin)
    from mlplab import experiment
    from mlplab.config.run_dir import check_folder

    settings = settings_of_overrides("doctor", args.target)
    if args.out is not None:
        check_folder(args.out, "--out")
    with tempfile.TemporaryDirectory(prefix="mlplab-doctor-") as temporary:
        folder = args.out or Path(temporary) / "run"
        experiment.run(settings, folder, quiet=True)
        plugin_arguments = [text for file in args.plugin for text in ("--plugin", file)]
        base = ["mlplab", "train", *plugin_arguments, *args.target]
        return _run(folder, args.json, args.seeds if args.tries else 0, base)


def _run(folder: Path, as_json: bool, seeds: int, base: Sequence[str] | None = None) -> int:
    """Diagnose the run in a folder; `base` is the command line that trains it, to which the
    overrides that help are added (None: `mlplab rerun`).
    """
    from mlplab.runs.run import load
    from mlplab.training import DataCache

    run, cache = load(folder), DataCache()
    diagnosis = run.diagnosis(cache)
    if as_json:
        # a list, which is empty for a healthy run
        modes.write_document(json_text([finding.to_json() for finding in diagnosis.findings]))
        return 0
    command = list(base) if base is not None else ["mlplab", "rerun", str(folder)]
    print("\n".join(_text(run, diagnosis, command)))
    if seeds and diagnosis.findings:
        _try(run, diagnosis, seeds)
    return 0


def _text(run: Run, diagnosis: Diagnosis, command: Sequence[str]) -> list[str]:
    lines = [f"{run.settings.name}: {run.status}{_score_text(run)}"]
    if not diagnosis.findings:
        lines.append("No ailment was recognized.")
    for finding in diagnosis.findings:
        opening = (
            f"Diverged at step {run.summary.get('steps')} because {finding.cause}"
            if run.status == "diverged"
            else f"{finding.title[0].upper()}{finding.title[1:]}: {finding.cause}"
        )
        lines += ["", f"{opening}.", *(f"  {number}" for number in finding.numbers)]
        if finding.overrides:
            lines.append(f"  Try: {shlex.join([*_without(command, finding), *finding.overrides])}")
        lines += [f"  {finding.advice}"] if finding.advice else []
    return lines + [f"Note: {text}" for text in diagnosis.notes]


def _without(command: Sequence[str], finding: Finding) -> list[str]:
    """The command line without the overrides that those of the finding replace."""
    keys = {key_of(text) for text in finding.overrides}
    return [text for text in command if "=" not in text or key_of(text) not in keys]


def _score_text(run: Run) -> str:
    names = ("train/accuracy", "val/accuracy", "train/r2", "val/r2")
    shown = [f"{name} {run.metrics[name]:.4g}" for name in names if name in run.metrics]
    return f", {', '.join(shown)}" if shown else ""


def _try(run: Run, diagnosis: Diagnosis, seeds: int) -> None:
    """Train the run and its remedy side by side, and print their metrics."""
    from mlplab.runs.trial import try_overrides
    from mlplab.terminal.table import aligned

    overrides = list(
        dict.fromkeys(text for finding in diagnosis.findings for text in finding.overrides)
    )
    if not overrides:
        print("There is nothing to try.")
        return
    note(f"training {2 * seeds} runs")
    rows = try_overrides(run.folder, overrides, seeds)
    print(f"\nWith {' '.join(overrides)}, means of {seeds} seeds [lowest, highest]:")
    print("\n".join(aligned([["", "as it is", "changed"], *rows])))


def _sweep(folder: Path, plugins: Sequence[str], as_json: bool, tries: bool) -> int:
    """Diagnose all jobs of a sweep, and store the findings for its report."""
    if tries:
        raise ConfigError(f"{folder} holds a sweep: --try needs a run, such as {folder}:0.")
    load_plugins(folder, plugins)
    from mlplab.sweeps.diagnose_jobs import diagnose_jobs
    from mlplab.terminal.table import aligned

    by_job = diagnose_jobs(folder)
    if as_json:
        findings = {
            str(number): [finding.to_json() for finding in one.findings]
            for number, one in by_job.items()
        }
        print_document("doctor-sweep", {"folder": str(folder), "findings": findings})
        return 0
    counts = Counter(one.findings[0].title for one in by_job.values() if one.findings)
    healthy = sum(not one.findings for one in by_job.values())
    print(f"{len(by_job)} jobs: {healthy} without a finding")
    rows = []
    for title, count in counts.most_common():
        numbers = [
            n for n, one in by_job.items() if one.findings and one.findings[0].title == title
        ]
        finding = by_job[numbers[0]].findings[0]
        rows.append([str(count), title, f"{folder}:{numbers[0]}", " ".join(finding.overrides)])
    if rows:
        header = ["jobs", "finding", "for example", "try"]
        print("\n".join(aligned([header, *rows], left=[1, 2, 3])))
        print(f"`mlplab report {folder}` adds the findings to the table of jobs.")
    return 0
