"""A loader for Hydra that checks each configuration of a sweep before Hydra acts on it, in this
process and in the workers of a launcher.

A sweep may compose user files that set up logging or environment variables, which Hydra would apply
before a job starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_search_path import ConfigSearchPath
from omegaconf import DictConfig, OmegaConf

from mlplab.config import security
from mlplab.config.overrides import check_hydra_override, parse_overrides


class GuardedLoader(ConfigLoaderImpl):
    """Raises ConfigError for unsafe configurations and overrides.

    The overrides in `trusted`, which mlplab adds itself, are not checked.
    """

    def __init__(self, config_search_path: ConfigSearchPath, trusted: Sequence[str]) -> None:
        super().__init__(config_search_path)
        self.trusted = tuple(trusted)

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        """Return the composed tree after checking it. Raises ConfigError."""
        hydra_overrides = [
            override
            for override in parse_overrides(line for line in overrides if line not in self.trusted)
            if override.is_hydra_override()
        ]
        for override in hydra_overrides:
            check_hydra_override(override.key_or_group, override.input_line or "")
        tree = super().load_configuration(config_name, overrides, *args, **kwargs)
        plain: Any = OmegaConf.to_container(tree, resolve=False)
        node = plain.pop("hydra")
        security.check_hydra(node)
        security.refuse_unsafe_launcher_values(
            node, [override.key_or_group for override in hydra_overrides]
        )
        security.refuse_code(plain)
        return tree
