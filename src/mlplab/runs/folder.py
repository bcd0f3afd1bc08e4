"""Run folders: created once, owned by one process, never shared and never overwritten."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from mlplab.errors import FolderError, FolderInUseError
from mlplab.run_names import check_name

try:
    import fcntl
except ImportError:  # Windows: there, exclusive creation alone protects a folder
    fcntl = None  # type: ignore[assignment]


LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class RunFolder:
    """A run's folder, owned while the lock file in it is locked.

    The kernel gives the lock back when the process ends, however it ends, so there are no stale
    locks. The lock file stays and names the last owner.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def lock(self, *, fresh: bool = False) -> None:
        """Lock the folder. Raises FolderInUseError if another process, or another RunFolder of this
        process, has locked it.

        `fresh`: where there are no file locks, an existing lock file counts as taken too.
        """
        try:
            self._descriptor, new = _open_lock(self.path / LOCK)
        except OSError as error:
            raise FolderError(f"{self.path} cannot be written to: {error.strerror}.") from None
        try:
            self._hold(new, fresh)
            os.ftruncate(self._descriptor, 0)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            os.write(
                self._descriptor,
                f"{socket.gethostname()} process {os.getpid()} since {now}\n".encode(),
            )
        except BaseException:
            self.close()
            raise

    def _hold(self, new: bool, fresh: bool) -> None:
        try:
            free = _flock(self._descriptor)
        except OSError as error:
            if fcntl is None or os.environ.get("MLPLAB_NO_LOCK") == "1":
                if fresh and not new:
                    raise _in_use(self.path, self._descriptor) from None
                return
            if new:
                os.unlink(self.path / LOCK)
            raise FolderError(
                f"The file system of {self.path} has no file locks ({error.strerror}), which keep"
                " two runs out of one folder: choose a hydra.run.dir on another one, or set"
                " MLPLAB_NO_LOCK=1 and see to it yourself."
            ) from None
        if not free:
            raise _in_use(self.path, self._descriptor)

    def close(self) -> None:
        """Give the folder free; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __fspath__(self) -> str:
        return str(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _open_lock(path: Path) -> tuple[int, bool]:
    """The lock file's descriptor, and whether it was created now."""
    try:
        return os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(path, _OPEN), False


def _flock(descriptor: int) -> bool:
    """Lock the open file; False where another has it locked. OSError where the file system
    cannot.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise
        return False
    return True


def _in_use(place: Path, descriptor: int) -> FolderInUseError:
    owner = re.sub(rb"[^ -~]", b"", os.read(descriptor, 300)).decode().strip() or "another process"
    return FolderInUseError(
        f"{place} is in use by {owner}: choose another hydra.run.dir, or wait until it has ended."
    )


def create(place: Path) -> RunFolder:
    """Create the folder of a run and own it. An empty folder that exists is taken; any other is
    refused with FolderError.
    """
    if place.parts[:1] and place.parts[0].startswith("~"):
        raise FolderError(
            f"{place} starts with ~, which only a shell replaces by the home folder: write the"
            " whole path."
        )
    made = _make(place)
    folder = RunFolder(place)
    try:
        folder.lock(fresh=True)
        if set(os.listdir(place)) != {LOCK}:  # filled by another run since we looked
            folder.close()
            raise _not_empty(place)
    except BaseException:
        folder.close()
        if made:
            with contextlib.suppress(OSError):  # not empty: another run has it
                place.rmdir()
        raise
    return folder


def _make(place: Path) -> bool:
    """Make the folder, or see that it is an empty one; whether it was made."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir()
        return True
    except (FileExistsError, NotADirectoryError):
        _require_empty(place)
        return False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FolderError(
            f"The run folder {str(place)!r} cannot be created: {reason}. Choose another"
            " hydra.run.dir."
        ) from None


def _require_empty(place: Path) -> None:
    if place.is_symlink():
        raise FolderError(
            f"{place} is a symbolic link; a run writes only into a folder of its own. Choose"
            " another hydra.run.dir."
        )
    if not place.is_dir():
        file = next((path for path in (place, *place.parents) if os.path.lexists(path)), place)
        raise FolderError(
            f"The run folder {place} cannot be created: {file} is not a folder. Choose another"
            " hydra.run.dir."
        )
    try:
        found = set(os.listdir(place))
    except OSError as error:
        raise FolderError(
            f"The run folder {place} cannot be read: {error.strerror}. Choose another"
            " hydra.run.dir."
        ) from None
    if found - {LOCK}:
        raise _not_empty(place)


def _not_empty(place: Path) -> FolderInUseError:
    """The refusal of a folder that holds something, a run in progress or anything else. Its lock is
    looked at, not touched.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(place / LOCK, _OPEN)
        try:
            if not _flock(descriptor):
                return _in_use(place, descriptor)
        finally:
            os.close(descriptor)
    return FolderInUseError(
        f"{place} is not empty, and a run never writes over another: choose another hydra.run.dir, "
        f"or finish the run that is there with `mlplab resume {place}`."
    )


def unique(place: Path) -> RunFolder:
    """Create and own `place`, or the first of place-2, place-3, ... that no other run has."""
    for number in itertools.count(1):
        try:
            return create(place if number == 1 else place.with_name(f"{place.name}-{number}"))
        except FolderInUseError:
            continue
    raise AssertionError("unreachable")


def default_folder(root: Path, name: str) -> Path:
    """Where a run goes when nothing else is said: root/runs/<name>/<time>-<8 random hex digits>.
    Nothing is created.

    FolderError where the name is not one that every file system can hold, or leads out of `root`.
    """
    check_name(name)
    parent = root / "runs" / name
    if not parent.resolve().is_relative_to(root.resolve()):
        raise FolderError(
            f"The name {name!r} leads out of {root}, to {parent.resolve()}: choose another name."
        )
    return parent / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{os.urandom(4).hex()}"
