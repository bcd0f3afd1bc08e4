"""Settings from words typed in Python, and from the configuration that a run folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import security
from mlplab.config.builder import build
from mlplab.config.composition import Composed, compose
from mlplab.config.search_path import check_size
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from mlplab.settings import Settings


def settings_from_overrides(overrides: Sequence[str] = ()) -> Settings:
    """The settings of the words that one would type after `mlplab train`. Raises ConfigError."""
    return build(compose(overrides))


def settings_of_folder(folder: Path) -> Settings:
    """The settings of a run folder: checked as if they had been typed, since anyone may have
    written them. Its device need not be here. Raises ConfigError.
    """
    return build(Composed(stored_config(folder)), trains=False)


def stored_config(folder: Path) -> dict[str, Any]:
    """What config.yaml of a run folder holds: a mapping without a key that would run code. Raises
    ConfigError.
    """
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        raise ConfigError(
            f"{folder} holds no run: there is no config.yaml in it. `mlplab train` prints the"
            " folder of each run as its last line."
        )
    check_size(path)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(
            f"{path} is no configuration: it holds a {type(config).__name__}, not keys and values."
        )
    security.refuse_code(config, str(path))
    return config
