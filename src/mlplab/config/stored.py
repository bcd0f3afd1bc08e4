"""Settings from overrides given in Python, and from the configuration in a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab import metric_names
from mlplab.config import plugins, security
from mlplab.config.builder import build
from mlplab.config.composer import Composer
from mlplab.config.composition import Composed
from mlplab.config.edit_stored import apply_overrides
from mlplab.config.registry import table
from mlplab.config.root import ADDED_GROUPS, COMPONENT_GROUPS
from mlplab.config.search_path import check_size
from mlplab.errors import ConfigError, DamagedFileError, MlplabError
from mlplab.io.files import parse_yaml
from mlplab.io.reading import RESTORE, fault_of, read_json
from mlplab.terminal.suggested import flags_of, plugin_flags

if TYPE_CHECKING:
    from mlplab.settings import Settings


def settings_from_overrides(overrides: Sequence[str] = ()) -> Settings:
    """Return the settings for overrides as after `mlplab train`. Raises ConfigError."""
    return build(Composer(overrides).compose_run())


def settings_of_folder(folder: Path, changes: Sequence[str] = (), trains: bool = False) -> Settings:
    """Return the settings of a run folder, with overrides applied. Raises ConfigError.

    They are checked like overrides, because anyone may have written the file. Unless `trains`, the
    device of the run need not be available.
    """
    config = stored_config(folder)
    _check_plugins(config, folder)
    composed = (
        apply_overrides(config, changes, folder / "config.yaml")
        if changes
        else Composed(config, is_guarded=True)
    )
    return build(composed, trains).stored_in(folder)


def _check_plugins(config: Mapping[str, object], folder: Path) -> None:
    """Raise ConfigError if the run has a component that only a plugin can have registered."""
    for key, group, value in _components(config):
        name = value.get("name") if isinstance(value, dict) else value
        if not isinstance(name, str) or not plugins.is_name(name) or name in table(group):
            continue
        raise ConfigError(
            f"{folder} was trained with {key}={name}, which is not a choice of mlplab: a plugin"
            f" registered it{_plugin_of(folder)}. Pass the file again with --plugin; in Python,"
            " import it, or run the cell that registers it, before mlplab.load."
        )
    training = config.get("training")
    monitor = training.get("monitor") if isinstance(training, dict) else None
    if isinstance(monitor, str) and monitor.isidentifier() and not _is_metric(monitor):
        raise ConfigError(
            f"{folder} was trained with training.monitor={monitor}, a metric that a plugin"
            f" registered{_plugin_of(folder)}. Pass the file again with --plugin; in Python, import"
            " it, or run the cell that registers it, before mlplab.load."
        )


def _is_metric(name: str) -> bool:
    """Whether this is what training.monitor may name; torch is imported only for other names than
    those of mlplab.
    """
    if name in ("auto", "loss") or any(name in names for names in metric_names.FINAL.values()):
        return True
    from mlplab.metrics import names_for

    return any(name in names_for(task) for task in metric_names.FINAL)


def _components(config: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    """Yield (key, group, value) of the components: those of the groups, and those that the model
    and its layers name themselves.
    """
    for group in plugins.OPEN_GROUPS:
        if isinstance(value := config.get(group), dict):
            yield group, group, value
    model = config.get("model")
    if not isinstance(model, dict):
        return
    for key in ("bias_initializer", "output_initializer"):
        yield f"model.{key}", "initializer", model.get(key)
    layers = model.get("hidden")
    for number, layer in enumerate(layers if isinstance(layers, list) else ()):
        for group in ("activation", "initializer") if isinstance(layer, dict) else ():
            yield f"model.hidden[{number}].{group}", group, layer.get(group)


def _plugin_of(folder: Path) -> str:
    """The plugins in the command that trained the run, as read from provenance.json."""
    try:
        command = read_json(folder / "provenance.json")["command"]
        arguments = [str(argument) for argument in command]
    except (MlplabError, OSError, KeyError, TypeError):
        return ""
    files = [path for _, path in flags_of(arguments, ("--plugin",))]
    return f" ({plugin_flags(files)})" if files else ""


def stored_config(folder: Path) -> dict[str, object]:
    """Return the content of config.yaml in a run folder.

    Raises ConfigError if it is missing or has a key that could run code, and DamagedFileError if it
    is no configuration.
    """
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        if (folder / "plan.yaml").is_file():
            raise ConfigError(
                f"{folder} is the folder of a sweep: name one of its jobs, such as {folder}:0."
            )
        raise ConfigError(
            f"{folder} is not the folder of a run: it has no config.yaml. `mlplab train` prints the"
            " folder of each run in its last line."
        )
    check_size(path)
    try:
        config = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise DamagedFileError(
            path, f"it is not YAML ({fault_of(error)})", _remedy(path)
        ) from error
    if not isinstance(config, dict):
        fault = f"it contains a {type(config).__name__}, not keys and values"
        raise DamagedFileError(path, fault, _remedy(path))
    security.refuse_code(config, str(path))
    for group in COMPONENT_GROUPS:
        if not isinstance(config.get(group, ADDED_GROUPS.get(group)), dict):
            fault = f"`{group}` is missing, or is not a choice with its keys"
            raise DamagedFileError(path, fault, _remedy(path))
    return config


def _remedy(config: Path) -> str:
    """What to do about a damaged config.yaml, without which the run cannot be repeated."""
    overrides = config.with_name("overrides.yaml")
    if not overrides.is_file():
        return RESTORE
    return f"Restore the file from a copy, or train again with the overrides in {overrides}."
