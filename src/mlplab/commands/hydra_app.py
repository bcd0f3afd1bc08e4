"""Hydra's own command line: --help, --cfg, --info, tab completion, and -m with its sweepers and launchers.

Hydra sees a command line only after ours has checked it, so that its errors are ours, and nothing that it would instantiate is the user's.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.cli import EXIT_CODES
from mlplab.commands.flags import Flags
from mlplab.config import folders, plugins, words
from mlplab.config.compose import Composed, compose, digest, prepare, search_path, split_search_path, stamp
from mlplab.config.errors import ConfigError
from mlplab.config.place import check_place
from mlplab.config.root import GROUPS
from mlplab.config.where import Sources

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


def run(flags: Flags, multirun: bool | None = None) -> int:
    """Hand the command line to Hydra, once it is checked; the exit code."""
    multirun = flags.multirun if multirun is None else multirun
    if flags.completes:
        return _complete(flags)
    typed, dirs = split_search_path(flags.overrides, flags.config_dirs)
    where = folders.search(dirs)
    parsed = words.parse(typed)
    words.check(parsed, where, multirun=multirun)
    words_for_hydra = [*words.for_hydra(parsed), *search_path(where)]
    if not multirun or flags.hydra:
        composed = compose(_first(parsed), dirs)
        named = any(word.key_or_group == "name" for word in parsed)
        shown_name = [] if named else [f"name='{composed.config['name']}'"]
        _hydra([*words_for_hydra, *(shown_name if "--cfg" in flags.hydra else []), *flags.hydra])
        return 0
    return _sweep(parsed, words_for_hydra, dirs, flags)


def _sweep(parsed: Sequence[Override], words_for_hydra: Sequence[str], dirs: Sequence[str | Path], flags: Flags) -> int:
    first = check_jobs(parsed, dirs)
    folder = _sweep_folder(parsed, first)
    check_place(folder, "hydra.sweep.dir")
    job = Job(tuple(flags.plugins), tuple(folders.search(dirs)))
    placed = [word for word in words_for_hydra if not word.startswith("hydra.sweep.dir=")]
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    _hydra([*placed, f"hydra.sweep.dir='{quoted}'", "--multirun"], job)
    counts = {status: job.statuses.count(status) for status in EXIT_CODES if status in job.statuses}
    print(f"{len(job.statuses)} jobs: " + ", ".join(f"{number} {status}" for status, number in counts.items()))
    print(folder)
    return job.exit_code()


def _sweep_folder(parsed: Sequence[Override], first: Composed) -> Path:
    """What hydra.sweep.dir= says, or a new folder below outputs/sweeps. It is fixed here: each job composes anew, and would draw another."""
    given = [word for word in parsed if word.key_or_group == "hydra.sweep.dir"]
    if given:
        value = str(given[-1].value())
        return Path(re.sub(r"\$\{\s*name\s*\}", str(first.config["name"]), value).replace("${mlplab.stamp:}", stamp()))
    return Path("outputs", "sweeps", str(first.config["name"]), stamp())


def check_jobs(parsed: Sequence[Override], dirs: Sequence[str | Path]) -> Composed:
    """Refuse a sweep in which a value is wrong, before its first job: each value of each key is built, the other keys at their first value."""
    from mlplab.config.build import build

    first = _first(parsed)
    base = compose(first, dirs)
    build(base)
    for i, word in enumerate(parsed):
        if not word.is_sweep_override() or not word.is_discrete_sweep():
            continue
        key = word.key_or_group
        for value, text in list(zip(word.sweep_iterator(), word.sweep_string_iterator(), strict=True))[1:]:
            line = f"{word.get_key_element()}={text}"
            variant = [*first[:i], line, *first[i + 1 :]]
            patched = None if key in GROUPS or type(value).__name__ == "QuotedString" else _patched(base.config, key, value)
            sources = Sources(tuple(variant), base.sources.choices, base.sources.folders)
            build(Composed(patched, sources=sources) if patched is not None else compose(variant, dirs))
    return base


def _patched(config: dict[str, Any], key: str, value: object) -> dict[str, Any] | None:
    """The configuration with one value changed; None where the key does not lead to a plain value there."""
    changed = copy.deepcopy(config)
    node: Any = changed
    *path, last = key.split(".")
    for piece in path:
        node = node.get(piece) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node or isinstance(node[last], dict):
        return None
    node[last] = value
    return changed


def _first(parsed: Sequence[Override]) -> list[str]:
    """The words with the first value of each sweep. Intervals, which only a searching sweeper understands, are left out."""
    lines = []
    for word in parsed:
        if not word.is_sweep_override():
            lines.append(word.input_line or "")
        elif word.is_discrete_sweep():
            value = next(iter(word.sweep_string_iterator()), None)
            if value is None:
                raise ConfigError(f"`{word.input_line}` has no values: nothing would be trained.")
            lines.append(f"{word.get_key_element()}={value}")
    return lines


@dataclass
class Job:
    """What Hydra's launcher calls for each job of a sweep. A job that fails is reported and the others go on."""

    plugins: tuple[str, ...]
    where: tuple[Path, ...]
    statuses: list[str] = field(default_factory=list)

    def __call__(self, config: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf, open_dict

        plugins.load(self.plugins)  # a launcher may have started another process
        node = HydraConfig.get()
        place = Path(node.runtime.output_dir)
        typed = tuple(str(word) for word in OmegaConf.to_container(node.overrides.task) or ())
        tree = copy.deepcopy(config)
        with open_dict(tree):
            tree.hydra = copy.deepcopy(node)
        status = self._train(tree, typed, place)
        self.statuses.append(status)
        print(f"job {node.job.num}: {status}  {' '.join(typed)}", flush=True)
        if status == "interrupted":
            raise KeyboardInterrupt

    def _train(self, tree: DictConfig, typed: tuple[str, ...], place: Path) -> str:
        from mlplab import experiment
        from mlplab.config.build import build

        try:
            settings = build(digest(tree, typed, self.where))
            return experiment.run(settings, Path(os.path.relpath(place)), quiet=True).status
        except Exception as error:
            if os.environ.get("MLPLAB_DEBUG") == "1":
                raise
            print(f"mlplab: {' '.join(f'{type(error).__name__}: {error}'.split())}", file=sys.stderr)
            return "failed"

    def exit_code(self) -> int:
        """Failed where a job failed, diverged where all did."""
        if "interrupted" in self.statuses or "failed" in self.statuses:
            return EXIT_CODES["interrupted" if "interrupted" in self.statuses else "failed"]
        return EXIT_CODES["diverged" if self.statuses and set(self.statuses) == {"diverged"} else "done"]


def _complete(flags: Flags) -> int:
    """Hydra completes `mlplab KEY=VALUE`; the shell has `mlplab train KEY=VALUE`."""
    if "COMP_LINE" in os.environ:
        os.environ["COMP_LINE"] = re.sub(r"^(\S+)\s+train(?=\s)", r"\1", os.environ["COMP_LINE"])
    _hydra([*flags.overrides, *flags.hydra])
    return 0


def _nothing(config: DictConfig) -> None:
    """Stands for the job where Hydra only prints."""


def _hydra(arguments: Sequence[str], task: Any = _nothing) -> None:
    """Hydra's main on these arguments. Its errors come out as exceptions."""
    import hydra

    prepare()
    with _argv(arguments), contextlib.suppress(_Ended):
        try:
            hydra.main(config_path=str(folders.shipped()), config_name="config", version_base="1.3")(task)()
        except SystemExit as end:
            if end.code not in (0, None):
                raise ConfigError(f"Hydra refused `{' '.join(arguments)}`.") from end
            raise _Ended from end


class _Ended(Exception):
    """Hydra ends --help by leaving the program; we go on."""


@contextlib.contextmanager
def _argv(arguments: Sequence[str]) -> Iterator[None]:
    """Hydra reads sys.argv, and says what went wrong itself unless told to raise."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
