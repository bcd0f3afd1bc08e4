"""Check that optional dependencies are installed, and name the extra that is missing.

Optional packages are imported inside functions, after `require`. A module that imports one at the
top level must itself be imported only after `require`.
"""

from importlib.util import find_spec

from mlplab.errors import MissingExtraError

_DISTRIBUTIONS = {"PIL": "pillow"}
"""Module -> the name of its distribution, where the names differ."""


def installed(*modules: str) -> bool:
    """Return whether all of these modules can be imported, without importing them."""
    return not _missing_modules(modules)


def require(purpose: str, extra: str, *modules: str) -> None:
    """Raise MissingExtraError if one of the modules is not installed.

    The message says that `purpose` needs them and that `extra` installs them.
    """
    if _missing_modules(modules):
        raise MissingExtraError(f"{missing(purpose, extra, *modules)}.")


def missing(purpose: str, extra: str, *modules: str) -> str:
    """Return the message that `purpose` needs the modules that are missing, and how to get them.

    Example: Drawing needs matplotlib, which is not installed: pip install 'mlplab[pictures]'
    """
    distributions = [_DISTRIBUTIONS.get(name, name) for name in _missing_modules(modules)]
    *others, last = distributions
    return (
        f"{purpose} needs {', '.join(others)}{' and ' if others else ''}{last}, which"
        f" {'are' if others else 'is'} not installed: pip install 'mlplab[{extra}]'"
    )


def _missing_modules(modules: tuple[str, ...]) -> list[str]:
    return [name for name in modules if not _importable(name)]


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # the module is blocked, or None in sys.modules
        return False
