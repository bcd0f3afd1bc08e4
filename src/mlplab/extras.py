"""Optional dependencies: check that an extra is installed, and say which one is missing.

Optional packages are imported inside functions, after `require`. A module that imports one at the
top level must itself be imported only after `require`.
"""

from __future__ import annotations

from importlib.util import find_spec

from mlplab.errors import MissingExtraError

_PACKAGES = {"PIL": "pillow"}
"""Module -> the name of its distribution, where they differ."""


def installed(*modules: str) -> bool:
    """Whether all of these modules can be imported. Does not import them."""
    return not _absent(modules)


def require(purpose: str, extra: str, *modules: str) -> None:
    """Raise MissingExtraError if one of the modules is not installed.

    The message says that `purpose` needs them and that `extra` installs them.
    """
    if _absent(modules):
        raise MissingExtraError(f"{missing(purpose, extra, *modules)}.")


def missing(purpose: str, extra: str, *modules: str) -> str:
    """ "Drawing needs matplotlib, which is not installed: pip install 'mlplab[pictures]'"."""
    absent = [_PACKAGES.get(name, name) for name in _absent(modules)]
    *others, last = absent
    return (
        f"{purpose} needs {', '.join(others)}{' and ' if others else ''}{last}, which"
        f" {'are' if others else 'is'} not installed: pip install 'mlplab[{extra}]'"
    )


def _absent(modules: tuple[str, ...]) -> list[str]:
    return [name for name in modules if not _importable(name)]


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a module that is blocked, or None in sys.modules
        return False
