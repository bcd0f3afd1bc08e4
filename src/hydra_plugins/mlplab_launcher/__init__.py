"""Hydra plugins: the sweepers and the launcher behind `mlplab train -m`. Hydra imports this module
at every start, so it imports no heavy packages.
"""

# No `from __future__ import annotations`: Hydra executes this file without adding it to
# sys.modules, where dataclasses would look up annotations that are strings.
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _Configured:
    """A launcher or sweeper that needs only its task and configuration."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.task_function, self.config = task_function, config


class MlplabLauncher(_Configured, Launcher):
    """Trains all jobs of a batch together, as populations; works with any sweeper."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train the jobs; each return value is the metric that ranks configurations, nan if the job
        failed.
        """
        from mlplab.sweeps.hydra_task import launch

        return launch(self.task_function, self.config, job_overrides, initial_job_idx)


class MlplabSweeper(Sweeper):
    """Hydra's grid of jobs, extended by the node `sweep`: zip, blocks and seeds. Works with any
    launcher.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from hydra.core.plugins import Plugins

        self.task_function, self.config = task_function, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Pass all jobs to the launcher at once."""
        from mlplab.sweeps.hydra_task import sweep

        return sweep(self.task_function, self.config, self.launcher)


class MlplabSearch(_Configured, Sweeper):
    """Hyperparameter search: Optuna proposes trials, which train as populations."""

    def sweep(self, arguments: list[str]) -> list[object]:
        """Run the whole search."""
        from mlplab.sweeps.search.search import sweep

        return sweep(self.task_function, self.config)


@dataclass
class LauncherConf:
    _target_: str = "hydra_plugins.mlplab_launcher.MlplabLauncher"


@dataclass
class SweeperConf:
    _target_: str = "hydra_plugins.mlplab_launcher.MlplabSweeper"


@dataclass
class SearchConf:
    _target_: str = "hydra_plugins.mlplab_launcher.MlplabSearch"


ConfigStore.instance().store(
    group="hydra/sweeper", name="mlplab_search", node=SearchConf, provider="mlplab"
)
ConfigStore.instance().store(
    group="hydra/launcher", name="mlplab", node=LauncherConf, provider="mlplab"
)
ConfigStore.instance().store(
    group="hydra/sweeper", name="mlplab", node=SweeperConf, provider="mlplab"
)
