"""A search in the folder of a sweep: a study proposes trials, which train as populations.

The folder stores the whole state: search.yaml (the request), study.db (trials and their results),
plan.yaml and jobs/ (what was trained). A trial that was still running when the process ended is
trained, or read from its job folder, when the search resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlplab.config.composer import Composer
from mlplab.io.files import parse_yaml, write_yaml
from mlplab.io.links import make_folder
from mlplab.io.reading import reading
from mlplab.mirroring.process import check_trackers, mirrored
from mlplab.runs import RunFolder
from mlplab.sweeps import run_sweep
from mlplab.sweeps.folder import create_or_join
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.report.group_events import write_tensorboard
from mlplab.sweeps.report.status import write_end, write_start
from mlplab.sweeps.run_sweep import Sweep
from mlplab.sweeps.search.definition import Search
from mlplab.sweeps.search.retrain import plan_retraining, read_retraining, train_again
from mlplab.sweeps.search.search_report import write_search
from mlplab.sweeps.search.study import Study
from mlplab.sweeps.search.trial_loop import run_trials
from mlplab.terminal.output import announce, count, note

FILE = "search.yaml"


def run_search(search: Search, folder: Path) -> Sweep:
    """Train until the study has all of its trials, and write the reports.

    May be called again on the same folder to resume. Raises FolderError if the folder holds
    something else, or another process runs the search.
    """
    check_trackers(search.trackers)
    create_or_join(folder)
    # two processes would propose the same trials twice
    with RunFolder.locked(make_folder(folder / ".search")):
        if not (folder / FILE).is_file():
            write_yaml(
                folder / FILE,
                {
                    "typed": list(search.overrides),
                    "dirs": [str(Path(folder).resolve()) for folder in search.composer.dirs],
                    "plugins": list(search.plugin_files),
                },
            )
        with mirrored(folder, search.trackers):
            return _run(search, folder)


def _run(search: Search, folder: Path) -> Sweep:
    study = open_study(search, folder)
    if not search.quiet:
        announce(folder)
    if not search.quiet and not study.trials():
        _note_rounds(search)
    search.ended = _train(search, folder, study)
    write_search(folder, study, search.ended.results, read_retraining(search, folder, study))
    if search.ended.status != "interrupted":
        write_tensorboard(search.ended.plan, search.ended.results)
    return search.ended


def _train(search: Search, folder: Path, study: Study) -> Sweep:
    """Train the trials and then the best configurations again; keep summary.json up to date.

    The search is interrupted if a signal arrives, or if trials are missing after a failure.
    """
    name, planned = str(search.first.config["name"]), search.trials
    statuses = study.statuses
    write_start(folder, name, planned, statuses())
    ended = run_trials(search, folder, study)
    new_statuses: list[str] = []
    if len(statuses()) >= search.trials and ended.status != "interrupted":
        again = plan_retraining(search, folder, study)
        if again is not None:
            planned += len(again.jobs)
            write_start(folder, name, planned, statuses())
            retrained = train_again(search, folder, again)
            new_statuses = [job.status for job in retrained.results.jobs]
            if retrained.status == "interrupted":
                ended = replace(ended, status="interrupted", signal=retrained.signal)
    write_end(folder, name, planned, [*statuses(), *new_statuses], is_search=True)
    return ended


def _note_rounds(search: Search) -> None:
    """Note how many trials are proposed at a time, and how many of them at random."""
    how = {
        "random": "all at random",
        "grid": "every value of the grid",
        "tpe": f"the first {search.random_trials} at random",
    }
    details = f", {how[search.sweep.sampler]}" if search.sweep.sampler in how else ""
    note(f"{count(search.trials, 'trial')}{details}, {search.parallel} at a time (sweep.parallel)")


def open_study(search: Search, folder: Path) -> Study:
    """Return the study of a search, with the trials that the folder already stores."""
    return Study(
        folder,
        search.objectives,
        search.space,
        search.sweep.sampler,
        search.first_seed,
        {"networks per trial": search.jobs_per_trial, "first seed": search.first_seed},
    )


def resume(folder: Path, quiet: bool = False, typed: Sequence[str] = ()) -> Sweep:
    """Continue the search in a folder until it has the number of trials that it was started with.
    `typed` is as in `run_sweep.options_to_resume`.

    Raises DamagedFileError if search.yaml cannot be read.
    """
    search = read_search(folder, quiet)
    search.options = run_sweep.options_to_resume(search.options, typed, folder)
    return run_search(search, folder)


def rewrite_reports(folder: Path) -> Sweep:
    """Rewrite all reports of the search in a folder from the trials that are stored there.

    Raises DamagedFileError if search.yaml or plan.yaml cannot be read, and ConfigError if the
    search has no plan yet.
    """
    search = read_search(folder)
    sweep = run_sweep.read_sweep(read_plan(folder), folder)
    study = open_study(search, folder)
    write_search(folder, study, sweep.results, read_retraining(search, folder, study))
    return sweep


def read_search(folder: Path, quiet: bool = False) -> Search:
    """Return the search that a folder stores in search.yaml.

    Raises DamagedFileError if it cannot be read.
    """
    request = _load(folder)
    composer = Composer(request["typed"], request["dirs"])
    return Search(composer, request["plugins"], quiet, folder)


def used_plugins(folder: Path) -> list[str]:
    """Paths of the plugin files that the search was started with; they are not loaded.

    Raises DamagedFileError if search.yaml cannot be read.
    """
    return _load(folder)["plugins"]


def _load(folder: Path) -> dict[str, list[str]]:
    with reading(
        folder / FILE, "Restore the file from a copy, or start the search in a new folder."
    ):
        raw = parse_yaml((folder / FILE).read_text(encoding="utf-8"))
        return {key: [str(item) for item in raw[key]] for key in ("typed", "dirs", "plugins")}
