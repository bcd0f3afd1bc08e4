"""A plugin file may import the modules beside it, at any time. No other module may: if the folder
were in sys.path, a file in it named like a package that is not installed would run as that package.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_IMPORT_SYSTEM = ("importlib", "importlib._bootstrap", "importlib._bootstrap_external", __name__)


class NeighborFinder(MetaPathFinder):
    """Finds modules in these folders, for modules in the same folder. It is asked last, so that no
    file beside a plugin hides a module of Python or of an installed package.
    """

    def __init__(self) -> None:
        self.folders: set[Path] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a top-level module is that a module of the folders imports, or None."""
        if path is not None:  # a package finds its own modules
            return None
        importer = _importing_file()
        for folder in self.folders:
            if folder in importer.parents:
                return PathFinder.find_spec(fullname, [str(folder)])
        return None


def _importing_file() -> Path:
    """The source file of the module that is importing another one."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__") in _IMPORT_SYSTEM:
        frame = frame.f_back
    return Path(frame.f_code.co_filename)


_finder = NeighborFinder()


def allow_neighbors(plugin: Path) -> None:
    """Let the plugin at this absolute path import the modules of its folder."""
    _finder.folders.add(plugin.parent)
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
