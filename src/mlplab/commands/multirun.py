"""`mlplab train -m`: Hydra's sweeper and launcher around our jobs. All values are checked before the first job starts."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.cli import EXIT_CODES
from mlplab.commands.flags import Flags
from mlplab.config import folders, plugins, words
from mlplab.config.build import build
from mlplab.config.compose import Composed, compose, digest, prepare, search_path, split_search_path
from mlplab.config.errors import ConfigError
from mlplab.config.place import check_place
from mlplab.config.root import GROUPS
from mlplab.config.where import Sources

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


def run(flags: Flags) -> int:
    """Train every job of a sweep; the exit code. The last line printed is the sweep's folder."""
    typed, dirs = split_search_path(flags.overrides, flags.config_dirs)
    where = folders.search(dirs)
    parsed = words.parse(typed)
    words.check(parsed, where, multirun=True)
    folder = Path(str(check_jobs(parsed, dirs).sweep_dir))
    check_place(folder, "hydra.sweep.dir")
    job = Job(tuple(flags.plugins), where)
    # Each job composes anew and would draw another folder, so it is fixed here.
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    fixed = [f"hydra.sweep.dir='{quoted}'", "hydra.mode=MULTIRUN", *search_path(where)]
    typed_words = words.for_hydra(word for word in parsed if word.key_or_group not in ("hydra.sweep.dir", "hydra.mode"))
    try:
        _launch([*typed_words, *fixed], job, where)
    except KeyboardInterrupt:
        job.statuses.append("interrupted")
    counts = {status: job.statuses.count(status) for status in EXIT_CODES if status in job.statuses}
    print(f"{len(job.statuses)} jobs: " + ", ".join(f"{number} {status}" for status, number in counts.items()))
    print(folder)
    return job.exit_code()


def _launch(overrides: list[str], job: Job, where: Sequence[Path]) -> None:
    """Hydra's multirun. Every configuration that it composes, the jobs' among them, is checked before anything is made of it."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from mlplab.config.loader import GuardedLoader

    prepare()
    with initialize_config_dir(config_dir=str(where[0]), job_name="mlplab", version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        hydra.config_loader = GuardedLoader(hydra.config_loader.get_search_path(), search_path(where))
        hydra.multirun(config_name="config", task_function=job, overrides=overrides)


def check_jobs(parsed: Sequence[Override], dirs: Sequence[str | Path]) -> Composed:
    """Build each value of each key, the other keys at their first value, and refuse what is wrong. Returns the first job's configuration."""
    first = _first(parsed)
    base = compose(first, dirs)
    build(base)
    for i, word in enumerate(parsed):
        if not word.is_sweep_override() or not word.is_discrete_sweep():
            continue
        key = word.key_or_group
        for value, text in list(zip(word.sweep_iterator(), word.sweep_string_iterator(), strict=True))[1:]:
            variant = [*first[:i], f"{word.get_key_element()}={text}", *first[i + 1 :]]
            patched = _patched(base.config, key, value) if key not in GROUPS and isinstance(value, (int, float)) else None
            sources = Sources(tuple(variant), base.sources.choices, base.sources.folders)
            build(Composed(patched, sources=sources) if patched is not None else compose(variant, dirs))
    return base


def _patched(config: dict[str, Any], key: str, value: object) -> dict[str, Any] | None:
    """The configuration with one number changed, which spares composing it; None where the key does not lead to a plain value."""
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
    """The words with the first value of each sweep."""
    lines = []
    for word in parsed:
        if not word.is_sweep_override():
            lines.append(word.input_line or "")
            continue
        if not word.is_discrete_sweep():
            raise ConfigError(
                f"`{word.input_line}` is an interval without values to train. Give values: {word.key_or_group}=0.1,0.2 or {word.key_or_group}=range(1,5)."
            )
        value = next(iter(word.sweep_string_iterator()), None)
        if value is None:
            raise ConfigError(f"`{word.input_line}` has no values: nothing would be trained.")
        lines.append(f"{word.get_key_element()}={value}")
    return lines


@dataclass
class Job:
    """What Hydra's launcher calls for each job. A job that fails is reported, and the others go on."""

    plugins: tuple[str, ...]
    where: tuple[Path, ...]
    statuses: list[str] = field(default_factory=list)

    def __call__(self, config: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import open_dict

        plugins.load(self.plugins)  # a launcher may have started another process
        node = HydraConfig.get()
        typed = tuple(str(word) for word in node.overrides.task)
        tree = copy.deepcopy(config)
        with open_dict(tree):
            tree.hydra = copy.deepcopy(node)
        status = self._train(tree, typed, Path(os.path.relpath(node.runtime.output_dir)))
        self.statuses.append(status)
        print(f"job {node.job.num}: {status}  {' '.join(typed)}", flush=True)
        if status == "interrupted":
            self.statuses.pop()  # counted once, where the sweep ends
            raise KeyboardInterrupt

    def _train(self, tree: DictConfig, typed: tuple[str, ...], place: Path) -> str:
        from mlplab import experiment

        try:
            return experiment.run(build(digest(tree, typed, self.where)), place, quiet=True).status
        except Exception as error:
            if os.environ.get("MLPLAB_DEBUG") == "1":
                raise
            print(f"mlplab: {' '.join(f'{type(error).__name__}: {error}'.split())}", file=sys.stderr)
            return "failed"

    def exit_code(self) -> int:
        """Interrupted or failed where a job was; diverged where all of them did."""
        for status in ("interrupted", "failed"):
            if status in self.statuses:
                return EXIT_CODES[status]
        return EXIT_CODES["diverged" if self.statuses and set(self.statuses) == {"diverged"} else "done"]
