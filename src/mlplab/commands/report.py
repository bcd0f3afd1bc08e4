"""`mlplab report DIR`: redraw the pictures and pages of a run, or rebuild the report of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.commands.folder_arguments import Options, kind, load_plugins, parse
from mlplab.commands.table_output import (
    TABLE_OPTIONS,
    asks_for_table,
    print_document,
    print_table,
)
from mlplab.errors import ConfigError, PlaybackError
from mlplab.extras import require
from mlplab.terminal.output import note
from mlplab.terminal.progress import Progress

if TYPE_CHECKING:
    from mlplab.pictures.study import Study
    from mlplab.runs.run import Run

OPTIONS: Options = {
    "--gif": {
        "action": "store_true",
        "help": "for a run: also write the training as an animation, animation.gif",
    },
    "--dark": {
        "action": "store_true",
        "help": "for a run: draw the pictures on a dark ground, as NAME-dark.png beside the others",
    },
    "--pages": {
        "metavar": "N",
        "type": int,
        "nargs": "?",
        "const": 0,
        "help": (
            "for a sweep: write the playback pages of the N best jobs, or of all without a number"
        ),
    },
    "--parquet": {
        "action": "store_true",
        "help": "for a sweep: write results.parquet and histories.parquet, and nothing else",
    },
    **TABLE_OPTIONS,
}


def report(arguments: Sequence[str]) -> int:
    """For a run: draw its pictures and write report.html, a page that plays back the training. For
    a sweep or search: rewrite its reports and print the table; with --metric, --group-by or a form
    such as --markdown, print that table and write nothing.
    """
    args = parse("report", report.__doc__ or "", arguments, OPTIONS)
    folder_kind = kind(args.folder)
    if args.gif and folder_kind == "sweep":
        raise ConfigError(
            f"{args.folder} holds a sweep: --gif is for a run, such as {args.folder}:0."
        )
    if args.dark and folder_kind == "sweep":
        raise ConfigError(
            f"{args.folder} holds a sweep: --dark is for a run, such as {args.folder}:0."
        )
    if args.pages is not None and folder_kind == "run":
        raise ConfigError(f"{args.folder} holds a run: --pages is for a sweep.")
    if args.parquet and folder_kind == "run":
        raise ConfigError(
            f"{args.folder} holds a run: --parquet is for a sweep. metrics.csv has its history."
        )
    if args.parquet and (asks_for_table(args) or args.pages is not None):
        raise ConfigError("--parquet writes two tables and nothing else: omit the other options.")
    if folder_kind == "run" and asks_for_table(args, but_json=True):
        raise ConfigError(
            f"{args.folder} holds a run: --metric, --group-by and forms of the table are for a"
            " sweep. `mlplab compare` takes several runs."
        )
    load_plugins(args.folder, args.plugin)
    if args.parquet:
        return _write_parquet(args.folder)
    if folder_kind == "sweep" and asks_for_table(args):
        from mlplab.sweeps.report.sources import read_sweep_results

        print_table(read_sweep_results(args.folder).results, args)
        return 0
    if folder_kind == "run":
        from mlplab.sweeps.open_job import add_frames

        require("Drawing", "pictures", "matplotlib")
        add_frames(args.folder)
        files = report_run(args.folder, args.gif, dark=args.dark)
        if args.json:
            names = list(map(str, files))
            print_document("report", {"folder": str(args.folder), "files": names})
        else:
            print(args.folder)
    else:
        _report_sweep(args.folder, args.pages)
    return 0


def _write_parquet(folder: Path) -> int:
    require("--parquet", "files", "pyarrow")
    from mlplab.sweeps.execution.stores import open_store
    from mlplab.sweeps.plan.plan_file import read_plan
    from mlplab.sweeps.report.collect import collect
    from mlplab.sweeps.report.parquet import write_tables

    plan = read_plan(folder)
    for path in write_tables(collect(plan, folder), open_store(plan, folder)):
        print(path)
    return 0


def report_run(
    folder: Path, gif: bool = False, quiet: bool = False, dark: bool = False
) -> list[Path]:
    """Write the pictures, with `dark` on a dark ground, and the playback page of a run, with `gif`
    also the animation; return their files.

    Without frames of the training, only the pictures of the final network are drawn.

    Raises UnfinishedRunError if the run has no weights, MissingExtraError without matplotlib, and
    PlaybackError if the animation needs frames that the run lacks.
    """
    require("Drawing", "pictures", "matplotlib", *(["PIL"] if gif else []))
    from mlplab.runs.record import remove_run_leftovers
    from mlplab.runs.run import require_weights

    require_weights(folder)
    remove_run_leftovers(folder)
    from mlplab.config.playground_link import write_link
    from mlplab.pictures.gallery import pictures
    from mlplab.pictures.rendering.drawing import draw_all
    from mlplab.playback.page import write_page
    from mlplab.playback.revisit import revisit
    from mlplab.runs import ensemble_document
    from mlplab.runs.frames_file import has_frames, missing_frames

    if gif and (folder / ensemble_document.FILE).is_file():
        raise ConfigError(f"{folder} holds a packed ensemble, of which there is no animation.")
    run, study = revisit(folder, needs_frames=gif)
    if study.ensemble is not None:
        return _report_ensemble(run, study, quiet)
    page = write_page(run, study) if has_frames(folder) else None
    if page is None and not quiet:
        note(f"{missing_frames(folder)} The pictures show the final network.")
    with Progress(len(pictures()), "pictures", quiet=quiet, unit="pictures") as bar:
        files = []
        for done, (file, _) in enumerate(draw_all(study, folder / "pictures", dark), 1):
            files.append(file)
            bar.update(done)
    if page is not None:
        files.append(page)
        if not quiet:
            print(page)
    if not quiet and (link := write_link(run.settings.config)[0]):
        print(link)
    if gif:
        from mlplab.playback.animation import write_animation

        with Progress(1, "animation", unit="") as bar:
            write_animation(
                study,
                folder / "animation.gif",
                lambda done, total: bar.update(0, in_progress=done / total),
            )
        files.append(folder / "animation.gif")
        print(files[-1])
    return files


def _report_ensemble(run: Run, study: Study, quiet: bool) -> list[Path]:
    """Write the pictures and the page of a packed ensemble, on both grounds."""
    from mlplab.pictures.gallery import pictures
    from mlplab.pictures.rendering.drawing import draw_all
    from mlplab.playback.ensemble_page import write_ensemble_page

    files = []
    with Progress(2 * len(pictures()), "pictures", quiet=quiet, unit="pictures") as bar:
        for dark in (False, True):
            for file, _ in draw_all(study, run.folder / "pictures", dark):
                files.append(file)
                bar.update(len(files))
    files.append(write_ensemble_page(run, study))
    if not quiet:
        print(files[-1])
    return files


def _report_sweep(folder: Path, pages: int | None) -> None:
    from mlplab.commands.multirun import conclude, conclude_search
    from mlplab.io.files import remove_leftovers
    from mlplab.sweeps import run_sweep
    from mlplab.sweeps.execution.stores import open_store
    from mlplab.sweeps.open_job import open_jobs
    from mlplab.sweeps.plan.plan_file import read_plan
    from mlplab.sweeps.report import group_events
    from mlplab.sweeps.report.collect import collect
    from mlplab.sweeps.search import search

    plan = read_plan(folder)
    remove_leftovers(folder)
    results = collect(plan, folder)
    if pages is not None:
        best_first = [job.number for group in results.groups for job in group.jobs if job.counts]
        _write_pages(open_jobs(plan, folder, best_first[:pages] if pages > 0 else best_first))
    if (folder / group_events.FOLDER).is_dir():
        group_events.write_group_events(results, open_store(plan, folder))
    if (folder / search.FILE).is_file():
        conclude_search(search.rewrite_reports(folder), folder)
    else:
        conclude(run_sweep.write_reports(plan, folder), folder)


def _write_pages(folders: Sequence[Path]) -> None:
    """Write the pages of these jobs, to which the page of the sweep can link afterwards."""
    from mlplab.playback.page import write_page
    from mlplab.playback.revisit import revisit
    from mlplab.sweeps.open_job import add_frames

    with Progress(len(folders), "pages", unit="pages") as bar:
        for done, folder in enumerate(folders, 1):
            add_frames(folder)
            try:
                write_page(*revisit(folder))
            except PlaybackError as error:
                note(str(error))
                return
            bar.update(done)
