"""The C compiler of the machine: where it is, its flags, and one call of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

COMPILERS = ("cc", "gcc", "clang")
MAX_SECONDS = 120.0
"""Limit for one call, which takes a few seconds on an idle machine."""
FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-shared", "-w"),
    # the compiler forms no fused products by itself, and the bits do not depend on its taste
    "-ffp-contract=off",
    # nothing reads errno or the floating-point exceptions; results do not change
    *("-fno-math-errno", "-fno-trapping-math"),
)
LIBRARIES = ("-lm", "-lpthread")


class NativeError(Exception):
    """The native engine cannot be used here; the message says why, without a period."""


def find() -> Path:
    """Return the path of the compiler. Raises NativeError if there is none."""
    for name in COMPILERS:
        if path := shutil.which(name):
            return Path(path).resolve()
    raise NativeError(f"there is no C compiler on the PATH ({', '.join(COMPILERS)})")


def identity(compiler: Path) -> str:
    """Return what the result of a compilation depends on, apart from its source.

    The compiler is known by its file, since asking for its version takes longer than loading a
    library.
    """
    stat = compiler.stat()
    return repr((str(compiler), stat.st_size, stat.st_mtime_ns, FLAGS, LIBRARIES, _processor()))


def _processor() -> str:
    """The name and the features of the processor, on which -march=native depends."""
    if not (description := _description()):
        return f"{platform.machine()} {platform.processor()}"
    keys = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU part")
    return repr([description.get(key) for key in keys])


def features() -> frozenset[str]:
    """Return the features of the processor, as the operating system names them."""
    return frozenset(_description().get("flags", "").split())


@cache
def _description() -> dict[str, str]:
    """What the operating system says of the last processor; empty if it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}


def compile_library(compiler: Path, source: str, path: Path, processor: str = "native") -> None:
    """Compile C to a shared library for a processor, as -march names it.

    Raises NativeError, with the first error, if it fails.
    """
    try:
        result = subprocess.run(
            [compiler, *FLAGS, f"-march={processor}", "-x", "c", "-", "-o", path, *LIBRARIES],
            input=source,
            capture_output=True,
            text=True,
            timeout=MAX_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except OSError as error:
        raise NativeError(f"{compiler} cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise NativeError(f"{compiler} took more than {MAX_SECONDS:.0f} seconds") from None
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "error" in line]
        raise NativeError(f"{compiler} failed: {' '.join((lines or ['no message'])[0].split())}")
