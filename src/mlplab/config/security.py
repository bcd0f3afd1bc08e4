"""Nothing in a configuration runs code: what could is refused, wherever it stands, before and after
interpolation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlplab.config.search_path import MAX_NODES
from mlplab.config.suggestions import shown
from mlplab.errors import ConfigError

FORBIDDEN = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_", "()")
_WITH_REASON = (
    "it would name code to run, and nothing in a configuration runs code. Parts are chosen by a"
    " word (optimizer=adam); own parts come from --plugin FILE"
)

_PATH = r"[\w.\[\]-]*"
_ALLOWED = re.compile(rf"\$\{{\s*(?:{_PATH}\s*\}}|oc\.select\s*:)")
_ALLOWED_IN_FOLDERS = re.compile(
    rf"\$\{{\s*(?:(?:hydra:)?{_PATH}\s*\}}|(?:oc\.select|now|mlplab\.stamp)\s*:)"
)


def refuse_code(tree: object, what: str = "The configuration") -> None:
    """Refuse a tree of plain values that holds a forbidden key, an interpolation beyond the allowed
    ones, or endlessly many values.
    """
    for count, (path, key, value) in enumerate(_walk(tree, "")):
        if key in FORBIDDEN:
            raise forbidden(path, key, what)
        if isinstance(value, str):
            refuse_resolvers(path, value)
        if count > MAX_NODES:
            raise ConfigError(f"{what} has more than {MAX_NODES} values; that is no configuration.")


def forbidden(path: str, key: object, what: str) -> ConfigError:
    """The refusal of one key."""
    return ConfigError(f"{what} has the key `{key}` at `{path}`: {_WITH_REASON}.")


def refuse_resolvers(path: str, text: str, allowed: re.Pattern[str] = _ALLOWED) -> None:
    """Only ${key} and ${oc.select:key,default} are resolved: environment variables would end up in
    files that runs leave behind.
    """
    for match in re.finditer(r"\$\{", text):
        if not allowed.match(text, match.start()):
            raise ConfigError(
                f"`{path} = {shown(text)}` uses an interpolation that is not allowed: only ${{key}}"
                " and ${oc.select:key,default} are. Environment variables (oc.env) and other"
                " resolvers are refused, because what they yield would be written into the run's"
                " files."
            )


def _walk(tree: object, path: str) -> Iterator[tuple[str, object, object]]:
    """(path, key, value) of everything in a tree, mappings, lists and scalars alike."""
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
    """Refuse a Hydra node that would run, load or set anything beyond folders, sweep values, and
    the launcher and sweeper of installed plugins.
    """
    for key in ("hydra_logging", "job_logging"):
        logging = node.get(key) or {}
        if set(logging) - {"version", "root", "disable_existing_loggers"} or logging.get(
            "root"
        ) not in (None, {"level": "ERROR"}):
            raise ConfigError(
                f"`hydra.{key}` is not one of the silent presets (none, disabled): a logging"
                " configuration can run code. mlplab writes its own log.txt."
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


_REASONS = {
    "hydra.callbacks": "a callback names code to run, and nothing in a configuration runs code",
    "hydra.job.env_set": "environment variables are set in the shell",
    "hydra.job.env_copy": "environment variables are set in the shell",
    "hydra.job.chdir": "paths are always relative to the folder of the command",
    "hydra.output_subdir": (
        "the run writes its configuration itself, as config.yaml and overrides.yaml"
    ),
}


def _check_installed(name: str, node: object) -> None:
    """The classes that a launcher or sweeper names must be those which its installed plugin
    declared in Hydra's own store.
    """
    known = {value for _, key, value in _walk(_declared(name), "") if key == "_target_"}
    for path, key, value in _walk(node, f"hydra.{name}"):
        if key == "_target_" and value in known:
            continue
        if key in FORBIDDEN:
            raise forbidden(path, key, "Hydra's configuration")
        if isinstance(value, str):
            refuse_resolvers(path, value, _ALLOWED_IN_FOLDERS)


def refuse_untyped(node: Mapping[str, Any], typed: Iterable[str]) -> None:
    """A file may choose an installed launcher and give it numbers and words of a line; what can
    hold commands, environments or code (lists and mappings, such as `setup` and `runtime_env`) must
    be typed. `typed`: the keys of the command line.
    """
    own = node.get("launcher") or {}
    presets = [
        item
        for _, _, item in _walk(_declared("launcher"), "")
        if isinstance(item, Mapping) and "_target_" in item
    ]
    preset = dict(
        _leaves(next((item for item in presets if item["_target_"] == own.get("_target_")), {}))
    )
    known = [key for key in typed if key == "hydra.launcher" or key.startswith("hydra.launcher.")]
    for path, value in _leaves(own):
        whole = f"hydra.launcher.{path}"
        typed_here = any(whole == key or whole.startswith((key + ".", key + "[")) for key in known)
        if typed_here or (path in preset and preset[path] == value):
            continue
        if re.search(r"[.\[]", path) or (isinstance(value, str) and not value.isprintable()):
            raise ConfigError(
                f"`{whole} = {shown(value)}` stands in a file, and could run code where Hydra's"
                " launcher takes it: nothing in a configuration does. Type it on the command line:"
                f" {whole.partition('[')[0]}=..."
            )


def _leaves(tree: object) -> Iterator[tuple[str, object]]:
    """(path, value) of the scalars of a tree, and of its empty lists and mappings."""
    for path, _, value in _walk(tree, ""):
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
