"""Where the files of the groups are: shipped with mlplab, and in the user's own folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from mlplab.config.root import GROUPS
from mlplab.errors import ConfigError

USER_FOLDER = "conf"
MAX_BYTES = 1_000_000
MAX_NODES = 10_000


@lru_cache(maxsize=1)
def shipped_folder() -> Path:
    """The folder configs/ of the checkout, or of the installed package."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parents[1] / "configs"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(
        f"mlplab was installed without its configs: neither {package / 'configs'} nor"
        f" {package.parents[1] / 'configs'} has config.yaml."
    )


def config_folders(config_dirs: Iterable[str | Path] = ()) -> tuple[Path, ...]:
    """All folders in which groups are looked up: the shipped one, those named by the user, and
    ./conf where it has groups.

    The user's files are checked before Hydra reads any: a file of theirs must not hide a shipped
    word, nor be so large (or so often repeated by YAML aliases) that reading it never ends.
    """
    folders = [shipped_folder()]
    for given in config_dirs:
        folder = Path(os.path.abspath(given))
        if not folder.is_dir():
            raise ConfigError(
                f"The folder of --config-dir, {folder},"
                f" {'is a file' if folder.exists() else 'does not exist'}. It holds subfolders"
                f" named like the groups: {', '.join(GROUPS)}."
            )
        folders.append(folder)
    own = Path(os.path.abspath(USER_FOLDER))
    if own.is_dir() and any((own / group).is_dir() for group in GROUPS):
        folders.append(own)
    unique = tuple(dict.fromkeys(folders))
    _check_own_files(unique[1:])
    return unique


def choice_files(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Word -> file of one group. Words of subfolders have slashes: experiment=mine/first."""
    found: dict[str, Path] = {}
    for folder in folders:
        place = folder / group
        for path in sorted(place.rglob("*.yaml")) if place.is_dir() else ():
            found.setdefault(path.relative_to(place).with_suffix("").as_posix(), path)
    return found


def file_label(path: Path) -> str:
    """A file as the user knows it: configs/... for the shipped ones, else relative to the folder of
    the command where that is shorter.
    """
    if path.is_relative_to(shipped_folder()):
        return "configs/" + path.relative_to(shipped_folder()).as_posix()
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _check_own_files(own_folders: Sequence[Path]) -> None:
    for group in GROUPS:
        taken = choice_files(group, [shipped_folder()])
        for folder in own_folders:
            for word, path in choice_files(group, [folder]).items():
                if word in taken:
                    raise ConfigError(
                        f"{file_label(path)} has the name of a shipped choice,"
                        f" {file_label(taken[word])}."
                        f" Give it a name of its own, as in my_{Path(word).name}.yaml, and choose"
                        f" it with {group}=my_{Path(word).name}; it may begin with `defaults:"
                        f" [{word}]`."
                    )
                check_size(path)


def check_size(path: Path) -> None:
    """Refuse a file that is too large to be a configuration, counting what its YAML aliases
    repeat.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConfigError(
            f"{file_label(path)} has {size} bytes; a configuration has at most {MAX_BYTES}."
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    # an entry takes two characters at least; without aliases a smaller file cannot have too many
    if size > 2 * MAX_NODES or re.search(r"(^|[\s\[{,:-])\*\w", text):
        _check_nodes(path, text)


def _check_nodes(path: Path, text: str) -> None:
    import yaml

    sizes: dict[str, int] = {}
    total = 0
    open_anchors: list[tuple[str | None, int]] = []
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                total += sizes.get(str(event.anchor), 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                open_anchors.append((event.anchor, total))
                total += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_anchors.pop()
                if anchor is not None:
                    sizes[anchor] = total - before
            elif isinstance(event, yaml.ScalarEvent):
                total += 1
            if total > MAX_NODES:
                raise ConfigError(
                    f"{file_label(path)} has more than {MAX_NODES} entries, those that aliases"
                    " repeat"
                    " included; that is no configuration."
                )
    except yaml.YAMLError:
        return  # a mistake in YAML is reported when the file is used
