"""Hydra's loader with our guard in it: what a sweep composes, in this process or in a launcher's
workers, is checked before Hydra acts on it.

A sweep composes configurations that nobody typed in full; a file of the user's that one of them
brings in could set up logging or environment variables, on which Hydra acts before a job of ours
begins.
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
    """Raises ConfigError for a configuration, or an override, that `guard` refuses."""

    def __init__(self, config_search_path: ConfigSearchPath, own_words: Sequence[str]) -> None:
        super().__init__(config_search_path)
        self.own_words = tuple(own_words)

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        """The composed tree, checked."""
        typed = [
            word
            for word in parse_overrides(line for line in overrides if line not in self.own_words)
            if word.is_hydra_override()
        ]
        for word in typed:
            check_hydra_override(word.key_or_group, word.input_line or "")
        tree = super().load_configuration(config_name, overrides, *args, **kwargs)
        plain: Any = OmegaConf.to_container(tree, resolve=False)
        node = plain.pop("hydra")
        security.check_hydra(node)
        security.refuse_untyped(node, [word.key_or_group for word in typed])
        security.refuse_code(plain)
        return tree
