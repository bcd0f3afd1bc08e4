"""The configuration: composed by Hydra, validated, and turned into typed settings."""

from mlplab.config.plugins import register
from mlplab.config.run_dir import check_folder
from mlplab.config.stored import settings_from_overrides, settings_of_folder

__all__ = [
    "check_folder",
    "register",
    "settings_from_overrides",
    "settings_of_folder",
]
