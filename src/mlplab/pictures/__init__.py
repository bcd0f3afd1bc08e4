"""Pictures of what a network learned. Only drawing imports matplotlib, not this package."""

import contextlib
import os
import sys


def _leave_out_matplotlibrc() -> None:
    """Import matplotlib elsewhere if the working folder has a matplotlibrc, which it would read."""
    if "matplotlib" not in sys.modules and os.path.exists("matplotlibrc"):
        with contextlib.chdir(os.sep), contextlib.suppress(ImportError):
            import matplotlib  # noqa: F401


_leave_out_matplotlibrc()
