"""A search: trials proposed by a study, trained as populations, wave by wave, in the folder of a
sweep.

What is known of a search lies in that folder: search.yaml (what was asked), study.db (what was
proposed and told), plan.yaml and jobs/ (what was trained). A trial that was proposed and not told
when the process ended is trained, or read from its job's folder, when the search goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlplab.config.composition import compose, split_search_path
from mlplab.errors import ConfigError
from mlplab.io.files import parse_yaml, write_yaml
from mlplab.io.links import make_folder
from mlplab.runs import RunFolder
from mlplab.sweeps import run_sweep
from mlplab.sweeps.run_sweep import Sweep
from mlplab.sweeps.search.definition import Search
from mlplab.sweeps.search.search_report import write_search
from mlplab.sweeps.search.study import Study
from mlplab.sweeps.search.trial_loop import run_trials

FILE = "search.yaml"


def wanted(typed: Sequence[str], dirs: Sequence[str | Path]) -> bool:
    """Whether the words ask for a search: the sweeper by name, or a number of trials, typed or in
    an experiment's file.
    """
    keys = {word.lstrip("+").partition("=")[0]: word.partition("=")[2] for word in typed}
    if keys.get("hydra/sweeper") == "mlplab_search" or "sweep.trials" in keys:
        return (
            keys.get("hydra/sweeper", "mlplab_search") == "mlplab_search"
            and keys.get("sweep.trials") != "null"
        )
    if "experiment" not in keys or "," in keys["experiment"]:
        return False
    return (
        compose([f"experiment={keys['experiment']}"], dirs, complete=False).sweep.trials is not None
    )


def run_search(search: Search, folder: Path) -> Sweep:
    """Until the study has its trials. May be called again on the same folder."""
    run_sweep.create_or_join(folder)
    with RunFolder(make_folder(folder / ".search")) as owner:
        owner.lock()  # two processes would propose twice
        if not (folder / FILE).is_file():
            write_yaml(
                folder / FILE,
                {
                    "typed": list(search.overrides),
                    "dirs": [str(Path(one).resolve()) for one in search.dirs],
                    "plugins": list(search.plugin_files),
                },
            )
        study = Study(
            folder,
            search.objectives,
            search.space,
            search.sweep.sampler,
            int(search.first.config.get("seed") or 0),
        )
        search.ended = run_trials(search, folder, study)
        write_search(folder, study, search.ended.results)
    return search.ended


def sweep(task: Any, config: Any) -> list[Any]:
    """What Hydra's sweeper calls."""
    if not isinstance(task, Search):
        raise ConfigError(
            "hydra/sweeper=mlplab_search trains mlplab's own configurations; another application"
            " takes its own sweeper."
        )
    run_search(task, Path(str(config.hydra.sweep.dir)))
    if task.ended is not None and task.ended.status == "interrupted":
        raise KeyboardInterrupt
    return []


def resume(folder: Path, quiet: bool = False) -> Sweep:
    """Go on with the search in a folder, to the number of trials that it was started with."""
    raw = parse_yaml((folder / FILE).read_text(encoding="utf-8"))
    try:
        typed, dirs, files = (
            [str(one) for one in raw[key]] for key in ("typed", "dirs", "plugins")
        )
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{folder / FILE} is damaged and cannot be read: {error}") from error
    plain, more = split_search_path(typed, dirs)
    return run_search(Search(plain, more, files, quiet), folder)
