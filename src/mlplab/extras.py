"""Packages that come with an extra of mlplab: whether they are installed, and what to say where
they are not.

They are imported inside functions, after `require`; a module that imports one at its top can be
imported only after that.
"""

from __future__ import annotations

from importlib.util import find_spec

_PACKAGES = {"PIL": "pillow"}
"""Modules whose package has another name."""


class MissingExtraError(ImportError, ValueError):
    """What was asked for needs a package that is not installed. The command ends with
    `exit_code`, as for any input that is refused.
    """

    exit_code = 2


def installed(*modules: str) -> bool:
    """Whether all of these modules can be imported. Imports none of them."""
    return not _absent(modules)


def require(purpose: str, extra: str, *modules: str) -> None:
    """Raise MissingExtraError where one of the modules is not installed; `purpose` needs them, and
    `extra` has them.
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
