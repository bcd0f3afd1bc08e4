"""The configuration: Hydra composes it, it is checked at the door, and the code below it sees plain
typed values.
"""

from mlplab.config.plugins import register
from mlplab.config.run_dir import check_folder
from mlplab.config.stored import settings_from_overrides, settings_of_folder

__all__ = [
    "check_folder",
    "register",
    "settings_from_overrides",
    "settings_of_folder",
]
