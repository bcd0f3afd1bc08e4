"""`mlplab report DIR`: what came of a run or a sweep, to look at."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.folder_arguments import kind, load_plugins, parse
from mlplab.errors import ConfigError
from mlplab.extras import require


def report(arguments: Sequence[str]) -> int:
    """Of a run: draw its pictures and write report.html, a page that plays the training back. Of a
    sweep: write its results again, and print the table.
    """
    given = parse("report", report.__doc__ or "", arguments, _options)
    what = kind(given.folder)
    if given.gif and what == "sweep":
        raise ConfigError(
            f"{given.folder} holds a sweep: --gif is for a run, such as {given.folder}/jobs/0."
        )
    if given.pages is not None and what == "run":
        raise ConfigError(f"{given.folder} holds a run: --pages is for a sweep.")
    load_plugins(given.folder, given.plugin)
    if what == "run":
        report_run(given.folder, given.gif)
        print(given.folder)
    else:
        _report_sweep(given.folder, given.pages)
    return 0


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gif",
        action="store_true",
        help="of a run: write the training as an animation too, animation.gif",
    )
    parser.add_argument(
        "--pages",
        metavar="N",
        type=int,
        nargs="?",
        const=0,
        help="of a sweep: write the playback pages of the N best jobs; without a number, of all",
    )


def report_run(folder: Path, gif: bool = False, quiet: bool = False) -> None:
    """Pictures, the playback page and, if asked for, the animation."""
    _require_drawable(folder, gif)
    from mlplab.pictures.gallery import pictures
    from mlplab.pictures.rendering.drawing import draw_all
    from mlplab.playback.page import write_page
    from mlplab.playback.revisit import revisit
    from mlplab.terminal.progress import Progress

    run, study = revisit(folder)
    page = write_page(run, study)
    with Progress(len(pictures()), "pictures", quiet=quiet, unit="pictures") as bar:
        for done, _ in enumerate(draw_all(study, folder / "pictures"), 1):
            bar.update(done)
    if not quiet:
        print(page)
    if gif:
        from mlplab.playback.animation import write_animation

        with Progress(1, "animation", unit="") as bar:
            write_animation(
                study,
                folder / "animation.gif",
                lambda done, total: bar.update(0, in_progress=done / total),
            )
        print(folder / "animation.gif")


def _require_drawable(folder: Path, gif: bool) -> None:
    require("Drawing", "pictures", "matplotlib", *(["PIL"] if gif else []))
    if not (folder / "weights.safetensors").is_file():
        raise ConfigError(
            f"{folder} holds a run without weights: it has not ended, or it failed. Its log.txt"
            " says what happened."
        )


def _report_sweep(folder: Path, pages: int | None) -> None:
    from mlplab.commands.multirun import conclude
    from mlplab.sweeps import run_sweep
    from mlplab.sweeps.plan.plan_file import read_plan

    plan = read_plan(folder)
    if pages is not None:
        _write_pages(run_sweep.write_reports(plan, folder).results, pages)
    conclude(run_sweep.write_reports(plan, folder), folder)


def _write_pages(results, pages: int) -> None:  # type: ignore[no-untyped-def]
    """The pages of the best jobs, before the sweep's own page links to those that are there."""
    from mlplab.errors import PlaybackError
    from mlplab.playback.page import write_page
    from mlplab.playback.revisit import revisit
    from mlplab.terminal.output import note
    from mlplab.terminal.progress import Progress

    jobs = [job for group in results.groups for job in group.jobs if job.counts]
    jobs = jobs[:pages] if pages > 0 else jobs
    with Progress(len(jobs), "pages", unit="pages") as bar:
        for done, job in enumerate(jobs, 1):
            try:
                write_page(*revisit(job.folder))
            except PlaybackError as error:
                note(str(error))
                return
            bar.update(done)
