"""The configuration: Hydra composes it, it is checked at the door, and the code below it sees plain
typed values.
"""

from mlplab.config.build import build
from mlplab.config.compose import Composed, compose
from mlplab.config.place import check_place
from mlplab.config.plugins import register
from mlplab.config.stored import settings_from_words, settings_of_folder

__all__ = [
    "Composed",
    "build",
    "check_place",
    "compose",
    "register",
    "settings_from_words",
    "settings_of_folder",
]
