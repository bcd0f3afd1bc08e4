"""The check of the folder that a run will create, before anything is computed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from mlplab.errors import ConfigError
from mlplab.io.links import refuse_links
from mlplab.run_names import is_set_up_only

DEFAULT_ROOT = Path("outputs")
"""The folder below which runs and sweeps create theirs; `outputs=DIR` names another one."""

DEBUG = "debug"
"""The folder beside those of runs and sweeps for runs with the key `debug`, which are not listed
among the others.
"""

_NAMES = "${name}/${mlplab.stamp:}"


def folders_below(root: str) -> dict[str, str]:
    """Return the keys of the folders of runs and sweeps, with their values below `root`."""
    return {
        "hydra.run.dir": f"{root}/runs/{_NAMES}",
        "hydra.sweep.dir": f"{root}/sweeps/{_NAMES}",
    }


def debug_folder(run_dir: str) -> str:
    """Return the folder of a run with the key `debug`, given that of a run: below DEBUG, unless the
    user named another folder.
    """
    return re.sub(r"/runs(/[^/]+/[\d_-]+-[0-9a-f]{8})$", rf"/{DEBUG}\1", run_dir)


def quoted(text: str) -> str:
    """Return a text as Hydra's grammar writes it between quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def typed_outputs(overrides: Iterable[str]) -> list[str]:
    """Return `outputs=DIR` if these overrides are what it stands for, or an empty list."""
    ending = f"/runs/{_NAMES}'"
    for line in overrides:
        key, _, value = line.partition("=")
        if key == "hydra.run.dir" and value[:1] == "'" and value.endswith(ending):
            root = value[1:].removesuffix(ending)
            return [f"outputs={root}" if re.fullmatch(r"[\w./-]+", root) else f"outputs='{root}'"]
    return []


def split_job(path: str | Path) -> tuple[Path, int] | None:
    """Return the folder and the number in SWEEP:NUMBER, which names a job of a sweep; None for any
    other text and for a path that exists.
    """
    sweep, _, number = str(path).rpartition(":")
    if not sweep or not re.fullmatch(r"[0-9]{1,9}", number) or os.path.lexists(path):
        return None
    return Path(sweep), int(number)


def refuse_links_in_outputs(path: Path) -> None:
    """Raise LinkError if a folder between outputs/ and `path`, which is to be created, is a
    symbolic link: somebody else may have made it. Links outside outputs/, and outputs/ itself, are
    the user's choice.
    """
    root = Path(os.path.abspath(DEFAULT_ROOT))
    refuse_links(folder for folder in Path(os.path.abspath(path)).parents if root in folder.parents)


def check_folder(folder: str | Path, key: str = "hydra.run.dir") -> Path:
    """Return the folder as an absolute path. Raises ConfigError if it is in use or cannot be
    created, and LinkError as `refuse_links_in_outputs` does.
    """
    absolute = Path(os.path.abspath(folder))
    refuse_links_in_outputs(absolute)
    text = f"The folder {absolute} (`{key}`)"
    if any(ord(character) < 32 for character in str(folder)) or any(
        len(os.fsencode(segment)) > 255 for segment in absolute.parts
    ):
        raise ConfigError(
            f"{text[:120]}... cannot be a folder: a name in it is longer than 255 bytes or contains"
            " a control character."
        )
    if absolute.is_dir() and not is_set_up_only(os.listdir(absolute)):
        raise ConfigError(
            f"{text} already exists and is not empty. A run never writes into the folder of another"
            f" run; name a new one with {key}=..., or leave it out."
        )
    parent = next(path for path in (absolute, *absolute.parents) if os.path.lexists(path))
    if not parent.is_dir():
        raise ConfigError(
            f"{text} cannot be created: {parent} is"
            f" {'a symbolic link to nothing' if parent.is_symlink() else 'a file'}. Name another"
            f" folder with {key}=...."
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{text} cannot be created: no permission to write in {parent}. Name another folder"
            f" with {key}=...."
        )
    return absolute
