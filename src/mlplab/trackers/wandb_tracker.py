"""Weights & Biases: offline in the outputs, or as WANDB_MODE says.

Runs are in the project of their name, or in that of WANDB_PROJECT. A sweep is a group of its jobs,
with a run of the type `sweep` that has its report.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mlplab.io.links import make_folder
from mlplab.trackers.base import Evaluation, TrackedRun, Tracker

DEFAULTS = {
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_START_METHOD": "thread",
}
"""Environment variables, unless the user has set them."""


class WandbTracker(Tracker):
    """Mirrors a run to Weights & Biases."""

    modules, extra = ("wandb",), "wandb"

    @property
    def _mode(self) -> str:
        return os.environ.get("WANDB_MODE") or "offline"

    @property
    def _folder(self) -> Path:
        return Path(os.environ.get("WANDB_DIR") or self.root).absolute()

    def target(self) -> str:
        if self._mode == "online":
            return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
        return str(self._folder / "wandb")

    def continues(self) -> bool:
        return self._mode == "online"  # a run that is offline is written into one file

    def open(self, run: TrackedRun) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        if not self._folder.is_dir():
            make_folder(self._folder)
        wandb: Any = import_module("wandb")
        group = run.parent or (run if run.kind == "sweep" else None)
        options = {} if os.environ.get("WANDB_PROJECT") else {"project": _project(run.experiment)}
        self._run = wandb.init(
            **options,
            id=run.id,
            name=run.name,
            group=group.name if group is not None else None,
            job_type=run.kind,
            dir=str(self._folder),
            mode=self._mode,
            resume="allow" if self._mode == "online" else None,
            config={"mlplab": {"kind": run.kind, **dict(_nested(run.tags))}},
            reinit="create_new",
            settings=_settings(wandb),
        )
        self._run.define_metric("epoch", hidden=True)
        self._run.define_metric("*", step_metric="epoch")

    def params(self, values: Mapping[str, object]) -> None:
        self._run.config.update(dict(values), allow_val_change=True)

    def metrics(self, evaluations: Sequence[Evaluation]) -> None:
        for one in evaluations:
            self._run.log({"epoch": one.epoch, "step": one.step, **one.values}, step=one.epoch)

    def artifact(self, name: str, path: Path) -> None:
        base = path
        for _ in Path(name).parts:
            base = base.parent
        self._run.save(str(path), base_path=str(base), policy="now")

    def close(self, status: str, summary: Mapping[str, float]) -> None:
        for name, value in summary.items():
            self._run.summary[name] = value
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status in ("done", "pruned") else 1)


def _settings(wandb: Any) -> Any:
    """Settings with which wandb records nothing but what it is given: no console, no code, no
    repository of the working folder, no measurements of the machine.
    """
    return wandb.Settings(
        console="off",
        silent=True,
        save_code=False,
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        symlink=False,  # a run folder may be moved, and what a pack has is in a temporary file
    )


def _nested(tags: Mapping[str, str]) -> Mapping[str, str]:
    return {key.removeprefix("mlplab."): value for key, value in tags.items()}


def _project(name: str) -> str:
    """The name without the characters that wandb refuses, as in names with folders."""
    return "".join("-" if character in "/\\#?%:" else character for character in name)
