"""Compiled libraries, kept in a private folder of the user so that each is compiled once.

A file is loaded only if it belongs to the user, nobody else may write to it or to its folder, and
it is complete: its last bytes are the digest of the others. It appears under its name by a rename,
so that processes which start at once see all of it or nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mlplab.io.locks import try_lock
from mlplab.native import compiler
from mlplab.native.compiler import NativeError
from mlplab.terminal.output import note

_DIGEST_SIZE = 32
_MAX_WAIT = compiler.MAX_SECONDS


def folder() -> Path:
    """Return the folder of the libraries: mlplab/native in the user's cache."""
    return _folder_of(os.environ.get("XDG_CACHE_HOME"), os.environ.get("HOME"))


@functools.cache
def _folder_of(cache: str | None, home: str | None) -> Path:
    base = cache or os.path.join(home or os.path.expanduser("~"), ".cache")
    return Path(base) / "mlplab" / "native"


def load(source: str, announcement: str = "") -> ctypes.CDLL:
    """Return the library of this source, compiled now if it is not in the cache.

    The announcement is printed before a compilation that takes long. Raises NativeError if it
    cannot be compiled or stored.
    """
    program = compiler.find()
    key = hashlib.sha256(f"{compiler.identity(program)}\n{source}".encode()).hexdigest()
    path = _private_folder() / f"{key[:40]}.so"
    if not _intact(path):
        with _exclusive(path.with_suffix(".lock")):
            if not _intact(path):  # another process may have compiled it meanwhile
                if announcement:
                    note(announcement)
                compile_to(program, source, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"the compiled library cannot be loaded: {error}") from error


def load_text(key: str) -> str | None:
    """Return the text that was stored under a key; None if there is none that is intact."""
    try:
        path = _private_folder() / f"{key}.c"
    except NativeError:
        return None
    return _intact(path).decode() or None


def store_text(key: str, text: str) -> None:
    """Store a text under a key, if the folder can be used."""
    with contextlib.suppress(NativeError, OSError):
        folder = _private_folder()
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".tmp-", delete=False) as file:
            file.write(text.encode() + hashlib.sha256(text.encode()).digest())
        os.replace(file.name, folder / f"{key}.c")


def print_once(text: str) -> None:
    """Print a note that was not printed on this machine before, as far as that can be known."""
    name = f"printed-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    try:
        (_private_folder() / name).touch(exist_ok=False)
    except FileExistsError:
        return
    except (OSError, NativeError):
        pass  # nothing can be kept here: print it
    note(text)


def _private_folder() -> Path:
    """The folder, created if needed. Raises NativeError unless it is the user's alone."""
    path = folder()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        if not _is_private(path.lstat(), stat.S_ISDIR):
            raise NativeError(f"the folder {path} belongs to another user, or others may write it")
    except OSError as error:
        raise NativeError(f"the folder {path} cannot be used: {error.strerror}") from error
    return path


def _is_private(status: os.stat_result, is_kind: object) -> bool:
    assert callable(is_kind)
    return bool(
        is_kind(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
    )


def _intact(path: Path) -> bytes:
    """The content of a file, without its digest; empty if the file may not be used."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        if not _is_private(os.fstat(descriptor), stat.S_ISREG):
            return b""
        content = file.read()
    return content[:-_DIGEST_SIZE] if is_complete(content) else b""


def is_complete(content: bytes) -> bool:
    """Whether a file with this content was written here, with its digest, and has not changed."""
    library, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    return len(library) > 0 and hashlib.sha256(library).digest() == digest


def compile_to(program: Path, source: str, path: Path, processor: str = "native") -> None:
    """Compile a library for a processor, with its digest. It appears when it is complete.

    Raises NativeError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as staging:
            compiled = Path(staging) / path.name
            compiler.compile_library(program, source, compiled, processor)
            digest = hashlib.sha256(compiled.read_bytes()).digest()
            compiled.chmod(0o600)
            with compiled.open("ab") as file:
                file.write(digest)
            os.replace(compiled, path)
    except OSError as error:
        raise NativeError(f"{path.parent} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Wait until no other process compiles the same library, or could have done it by now."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NativeError(f"{path.parent} cannot be written: {error.strerror}") from error
    try:
        deadline = time.monotonic() + _MAX_WAIT
        with contextlib.suppress(OSError):  # a file system without locks: several may compile it
            while not try_lock(descriptor) and time.monotonic() < deadline:
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
