"""The configuration files of the groups: those shipped with mlplab and those of the user."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from mlplab.config.root import GROUPS
from mlplab.errors import ConfigError
from mlplab.io.files import count_yaml_entries

USER_FOLDER = "conf"
MAX_BYTES = 1_000_000
MAX_NODES = 10_000


@lru_cache(maxsize=1)
def shipped_folder() -> Path:
    """Return the folder configs/ of the checkout or of the installed package."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parents[1] / "configs"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(
        f"mlplab was installed without its configs: neither {package / 'configs'} nor"
        f" {package.parents[1] / 'configs'} has config.yaml."
    )


def config_folders(config_dirs: Iterable[str | Path] = ()) -> tuple[Path, ...]:
    """Return the folders that contain groups: the shipped one, those of the user, and ./conf if it
    has groups.

    The user's files are checked before Hydra reads them: a file must not hide a shipped choice, nor
    be so large (or expand to so much through YAML aliases) that reading it would not end. Raises
    ConfigError.
    """
    folders = [shipped_folder()]
    for config_dir in config_dirs:
        folder = Path(os.path.abspath(config_dir))
        if not folder.is_dir():
            raise ConfigError(
                f"The folder of --config-dir, {folder},"
                f" {'is a file' if folder.exists() else 'does not exist'}. It must contain"
                f" subfolders named like the groups: {', '.join(GROUPS)}."
            )
        folders.append(folder)
    user_folder = Path(os.path.abspath(USER_FOLDER))
    if user_folder.is_dir() and any((user_folder / group).is_dir() for group in GROUPS):
        folders.append(user_folder)
    unique = tuple(dict.fromkeys(folders))
    _check_user_files(unique[1:])
    return unique


def choice_files(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the file of each choice of a group by name.

    Names in subfolders contain slashes, as in experiment=mine/first.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        root = folder / group
        for path in sorted(root.rglob("*.yaml")) if root.is_dir() else ():
            files.setdefault(path.relative_to(root).with_suffix("").as_posix(), path)
    return files


def file_label(path: Path) -> str:
    """Return the path to show to the user: configs/... for a shipped file, relative for a file
    below the working folder, and absolute otherwise.
    """
    if path.is_relative_to(shipped_folder()):
        return "configs/" + path.relative_to(shipped_folder()).as_posix()
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _check_user_files(user_folders: Sequence[Path]) -> None:
    for group in GROUPS:
        shipped = choice_files(group, [shipped_folder()])
        for folder in user_folders:
            for name, path in choice_files(group, [folder]).items():
                if name in shipped:
                    raise ConfigError(
                        f"{file_label(path)} has the name of a shipped choice,"
                        f" {file_label(shipped[name])}."
                        f" Rename it, as in my_{Path(name).name}.yaml, and choose it with"
                        f" {group}=my_{Path(name).name}; it may begin with `defaults: [{name}]`."
                    )
                check_size(path)


def check_size(path: Path) -> None:
    """Raise ConfigError for a file that is too large, also after expanding its YAML aliases."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConfigError(
            f"{file_label(path)} has {size} bytes, but a configuration may have at most"
            f" {MAX_BYTES}."
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    _check_nodes(path, text)


def _check_nodes(path: Path, text: str) -> None:
    import yaml

    try:
        if count_yaml_entries(text, MAX_NODES) > MAX_NODES:
            raise ConfigError(
                f"{file_label(path)} has more than {MAX_NODES} entries, counting those that"
                " aliases repeat, so it is not a configuration."
            )
    except yaml.YAMLError:
        return  # invalid YAML is reported when the file is used
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{file_label(path)} is not a configuration: {error}.") from None
