"""Text for a terminal: numbers, times and colors, and lines that cannot fail or steer it."""

from __future__ import annotations

import math
import os
import re
import sys
from pathlib import Path
from typing import TextIO

from mlplab.terminal import modes

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b.?", re.DOTALL)


def note(text: str) -> None:
    """Print a warning or a remark as one paragraph on the error stream, above a progress bar if
    there is one; nothing with --quiet.
    """
    if modes.is_quiet():
        return
    say(paint("note: ", YELLOW, sys.stderr) + plain(text), sys.stderr)


def announce(folder: Path) -> None:
    """Print the folder of a run or sweep before the training, so that it is known even if the
    process is killed: on the error stream, but not in a notebook, which shows that as an error.
    Nothing with --quiet.
    """
    if modes.is_quiet():
        return
    stream = sys.stdout if in_notebook() else sys.stderr
    say(paint("folder: ", DIM, stream) + plain(str(folder)), stream)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows HTML. Imports nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def digits(value: float) -> str:
    """Format a number with four significant digits: 0.9500, 12.34, 1.234e-05, nan."""
    return f"{value:#.4g}".rstrip(".")


def rounded(value: float, uncertainty: float | None) -> str:
    """Format a number to the second significant digit of its uncertainty: 0.9956 for 0.0084, 0.996
    for 0.01, 1.20e-06 for 3e-08. With an uncertainty of 0, None or NaN as `digits` does.
    """
    if not uncertainty or not math.isfinite(uncertainty):
        return digits(value)
    exponent = int(f"{uncertainty:.1e}".partition("e")[2])  # of the rounded uncertainty
    if -6 < exponent < 6:
        return f"{value:.{max(0, 1 - exponent)}f}"
    value_exponent = int(f"{value:e}".partition("e")[2]) if math.isfinite(value) else 0
    return f"{value:.{max(0, value_exponent - exponent + 1)}e}"


def duration(seconds: float) -> str:
    """Format seconds for people: 1.3 s, 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(number: int, noun: str) -> str:
    """Format a number of things: 1 job, 2 jobs, 1,000 jobs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def clock(seconds: float) -> str:
    """Format seconds as minutes:seconds, or hours:minutes:seconds from one hour."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
        if minutes >= 60
        else f"{minutes}:{rest:02d}"
    )


def plain(text: str) -> str:
    """Return the text on one line without escape sequences and control characters, so that a name
    cannot control the terminal.
    """
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+", " ", _ESCAPES.sub("", text)
    )


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can move its cursor."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    except ValueError:  # closed
        return False


def terminal_width(stream: TextIO) -> int | None:
    """The number of characters of a line, if the stream is a terminal."""
    import shutil  # which takes longer to import than this module

    return shutil.get_terminal_size().columns if is_terminal(stream) else None


def paint(text: str, code: str, stream: TextIO) -> str:
    """Color the text with an ANSI code if the stream is a terminal or FORCE_COLOR is set, unless
    NO_COLOR is set.
    """
    colored = is_terminal(stream) or os.environ.get("FORCE_COLOR")
    return f"\x1b[{code}m{text}\x1b[0m" if colored and not os.environ.get("NO_COLOR") else text


def encodable(text: str, stream: TextIO) -> str:
    """Replace characters that the stream's encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def say(text: str, stream: TextIO, *, strict: bool = False) -> None:
    """Print a line and flush. Unless `strict`, errors of a closed stream are ignored."""
    try:
        print(encodable(text, stream), file=stream, flush=True)
    except (OSError, ValueError):
        if strict:
            raise
