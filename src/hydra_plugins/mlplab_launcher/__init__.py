"""Hydra plugins: mlplab's sweeper, which launchers of other packages serve, and its launcher, which
serves sweepers of other packages. Hydra imports this module at every start, so it imports no heavy
packages.
"""

from collections.abc import Sequence

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class MlplabLauncher(Launcher):
    """Trains all jobs of a batch together, as populations, for a sweeper of another package."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.task_function = task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train the jobs; each return value is the metric that ranks configurations, nan if the job
        failed.
        """
        from mlplab.sweeps.hydra_task import launch

        return launch(self.task_function, job_overrides, initial_job_idx)


class MlplabSweeper(Sweeper):
    """Hydra's grid of jobs, extended by the node `sweep`: zip, blocks and seeds, for a launcher of
    another package.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from hydra.core.plugins import Plugins

        self.task_function = task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Pass all jobs to the launcher at once."""
        from mlplab.sweeps.hydra_task import sweep

        return sweep(self.task_function, self.launcher)


for group, name, class_name in (
    ("hydra/launcher", "mlplab", "MlplabLauncher"),
    ("hydra/sweeper", "mlplab", "MlplabSweeper"),
    ("hydra/sweeper", "mlplab_search", "MlplabSweeper"),
):
    node = {"_target_": f"hydra_plugins.mlplab_launcher.{class_name}"}
    ConfigStore.instance().store(group=group, name=name, node=node, provider="mlplab")
