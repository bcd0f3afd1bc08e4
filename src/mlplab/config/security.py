"""Nothing in a configuration may run code: keys and values that could are refused, before and after
interpolation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mlplab.config.search_path import MAX_NODES
from mlplab.config.suggestions import shown
from mlplab.errors import ConfigError

FORBIDDEN = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_", "()")
_WITH_REASON = (
    "it would name code to run, and nothing in a configuration may run code. Components are chosen"
    " by name (optimizer=adam); add others with --plugin FILE"
)

_PATH = r"[\w.\[\]-]*"
_ALLOWED = re.compile(rf"\$\{{\s*(?:{_PATH}\s*\}}|oc\.select\s*:)")
_ALLOWED_IN_FOLDERS = re.compile(
    rf"\$\{{\s*(?:(?:hydra:)?{_PATH}\s*\}}|(?:oc\.select|now|mlplab\.stamp)\s*:)"
)


def refuse_code(tree: object, source: str = "The configuration") -> None:
    """Raise ConfigError for a tree of plain values with a forbidden key, a forbidden interpolation,
    or too many values.
    """
    for count, (path, key, value) in enumerate(walk(tree)):
        if key in FORBIDDEN:
            raise forbidden(path, key, source)
        if isinstance(value, str):
            refuse_resolvers(path, value)
        if count > MAX_NODES:
            raise ConfigError(
                f"{source} has more than {MAX_NODES} values, so it is not a configuration."
            )


def forbidden(path: str, key: object, source: str) -> ConfigError:
    """Return the error for a forbidden key."""
    return ConfigError(f"{source} has the key `{key}` at `{path}`: {_WITH_REASON}.")


def refuse_resolvers(path: str, text: str, allowed: re.Pattern[str] = _ALLOWED) -> None:
    """Raise ConfigError for an interpolation other than ${key} and ${oc.select:key,default}.

    Environment variables would end up in the files of the run.
    """
    for match in re.finditer(r"\$\{", text):
        if not allowed.match(text, match.start()):
            raise ConfigError(
                f"`{path} = {shown(text)}` uses an interpolation that is not allowed: only ${{key}}"
                " and ${oc.select:key,default} are. Environment variables (oc.env) and other"
                " resolvers are refused because their values would be written into the files of"
                " the run."
            )


def walk(tree: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield (path, key, value) of all mappings, lists and scalars in a tree, itself included.

    The key of an item of a list, and of the tree, is None.
    """
    stack: list[tuple[str, object, object]] = [(path, None, tree)]
    while stack:
        path, key, value = stack.pop()
        yield path, key, value
        if isinstance(value, Mapping):
            stack += [
                (f"{path}.{name}" if path else str(name), name, item)
                for name, item in value.items()
            ]
        elif isinstance(value, (list, tuple)):
            stack += [(f"{path}[{i}]", None, item) for i, item in enumerate(value)]


def check_hydra(node: Mapping[str, Any]) -> None:
    """Raise ConfigError if the node `hydra` configures more than folders, sweep values, and the
    launcher and sweeper of an installed plugin.
    """
    for key in ("hydra_logging", "job_logging"):
        logging = node.get(key) or {}
        if set(logging) - {"version", "root", "disable_existing_loggers"} or logging.get(
            "root"
        ) not in (None, {"level": "ERROR"}):
            raise ConfigError(
                f"`hydra.{key}` is not one of the silent presets (none, disabled): a logging"
                " configuration can run code. mlplab writes log.txt itself."
            )
    job = node.get("job") or {}
    empty = {
        "hydra.callbacks": node.get("callbacks"),
        "hydra.job.env_set": job.get("env_set"),
        "hydra.job.env_copy": job.get("env_copy"),
        "hydra.job.chdir": job.get("chdir"),
        "hydra.output_subdir": node.get("output_subdir"),
    }
    for path, value in empty.items():
        if value:
            raise ConfigError(
                f"`{path} = {shown(value)}` is not allowed in mlplab: {_REASONS[path]}."
            )
    for name in ("run", "sweep"):
        for key, text in (node.get(name) or {}).items():
            refuse_resolvers(f"hydra.{name}.{key}", str(text), _ALLOWED_IN_FOLDERS)
    for name in ("launcher", "sweeper"):
        _check_installed(name, node.get(name))
    if (node.get("sweeper") or {}).get("params"):
        raise swept_elsewhere("hydra.sweeper.params")


def swept_elsewhere(text: str) -> ConfigError:
    """Return the error for values of a sweep at the place where Hydra's sweepers have them."""
    return ConfigError(
        f"`{text}`: mlplab takes what a sweep varies from the node `sweep`: type KEY=A,B with -m,"
        " or write sweep: {grid: {KEY: [A, B]}} in the file of an experiment."
    )


_REASONS = {
    "hydra.callbacks": "a callback names code to run, and nothing in a configuration may run code",
    "hydra.job.env_set": "set environment variables in the shell",
    "hydra.job.env_copy": "set environment variables in the shell",
    "hydra.job.chdir": "paths are always relative to the working folder",
    "hydra.output_subdir": (
        "a run writes its configuration itself, to config.yaml and overrides.yaml"
    ),
}


def _check_installed(name: str, node: object) -> None:
    """Refuse a launcher or sweeper whose class no installed plugin registered with Hydra."""
    targets = {value for _, key, value in walk(_declared(name)) if key == "_target_"}
    for path, key, value in walk(node, f"hydra.{name}"):
        if key in FORBIDDEN and not (key == "_target_" and value in targets):
            raise forbidden(path, key, "Hydra's configuration")
        if isinstance(value, str):
            refuse_resolvers(path, value, _ALLOWED_IN_FOLDERS)


def refuse_unsafe_launcher_values(node: Mapping[str, Any], override_keys: Collection[str]) -> None:
    """Raise ConfigError for launcher values in files that could run code.

    A file may choose an installed launcher and give it numbers and one-line strings. Values that
    can contain commands, environments or code (lists and mappings, such as `setup` and
    `runtime_env`) are accepted only from overrides, whose keys are `override_keys`.
    """
    launcher = node.get("launcher") or {}
    presets = [
        item
        for _, _, item in walk(_declared("launcher"))
        if isinstance(item, Mapping) and "_target_" in item
    ]
    preset = dict(
        _leaves(
            next((item for item in presets if item["_target_"] == launcher.get("_target_")), {})
        )
    )
    for path, value in _leaves(launcher):
        full_path = f"hydra.launcher.{path}"
        overridden = any(
            full_path == key or full_path.startswith((key + ".", key + "["))
            for key in override_keys
        )
        if overridden or (path in preset and preset[path] == value):
            continue
        if re.search(r"[.\[]", path) or (isinstance(value, str) and not value.isprintable()):
            raise ConfigError(
                f"`{full_path} = {shown(value)}` is set in a file, and Hydra's launcher could run"
                " code from it, which nothing in a configuration file may do. Set it on the command"
                f" line: {full_path.partition('[')[0]}=..."
            )


def _leaves(tree: object) -> Iterator[tuple[str, object]]:
    """Yield (path, value) of the scalars of a tree and of its empty lists and mappings."""
    for path, _, value in walk(tree):
        if path and not (isinstance(value, (Mapping, list, tuple)) and value):
            yield path, value


def _declared(name: str) -> object:
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    def plain(node: Any) -> object:
        if isinstance(node, dict):
            return {key: plain(item) for key, item in node.items()}
        return (
            OmegaConf.to_container(node.node, resolve=False)
            if OmegaConf.is_config(node.node)
            else None
        )

    return plain(ConfigStore.instance().repo.get("hydra", {}).get(name, {}))
