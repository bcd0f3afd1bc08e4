"""Libraries that a wheel may bring along, for machines that cannot compile.

There is one for each dtype, with the kernel and the functions of all components, compiled for the
x86-64 processors with AVX2 and fused products (level 3). Its bits are those of a library that is
compiled for the machine itself, since the vectors of the processor do not matter. Its name has the
digest of its source, so that it is never used with another version of the package.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import sys
from functools import cache
from pathlib import Path

from mlplab.native import compiler, library_cache, sources

FOLDER = Path(__file__).parent / "prebuilt"
LEVEL = "x86-64-v3"
FEATURES = frozenset({"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"})
"""What the processor must have for LEVEL, as /proc/cpuinfo names it."""


def build(folder: Path, dtypes: tuple[str, ...] = ("float32", "float64")) -> list[Path]:
    """Compile the libraries to a folder, without others there, and return their paths.

    Raises NativeError if this machine is another one than Linux on x86-64, or cannot compile.
    """
    if not _is_linux_x86_64():
        raise compiler.NativeError(f"libraries for {LEVEL} are compiled on Linux on x86-64")
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.so"):
        path.unlink()
    paths = []
    for dtype in dtypes:
        paths.append(folder / _name(dtype))
        library_cache.compile_to(compiler.find(), _source(dtype), paths[-1], LEVEL)
        paths[-1].chmod(0o644)
    return paths


@cache
def load(dtype: str) -> ctypes.CDLL | None:
    """Return the library for float32 or float64; None if there is none that fits and is intact."""
    path = FOLDER / _name(dtype)
    if not (path.is_file() and _is_linux_x86_64() and compiler.features() >= FEATURES):
        return None
    if not library_cache.is_complete(path.read_bytes()):
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # an older C library
        return None


def _is_linux_x86_64() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64"


def _name(dtype: str) -> str:
    identity = repr((_source(dtype), compiler.FLAGS, LEVEL))
    return f"{dtype}-{hashlib.sha256(identity.encode()).hexdigest()[:40]}.so"


def _source(dtype: str) -> str:
    return sources.dtype_line(dtype) + "\n".join(
        [sources.kernel_source(), *sources.functions().values()]
    )
