"""Run folders: created once, owned by one process at a time, never overwritten."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from mlplab.config.run_dir import refuse_links_in_outputs
from mlplab.errors import FolderError, FolderInUseError
from mlplab.io.files import Closing
from mlplab.io.links import refuse_links
from mlplab.io.locks import HAS_LOCKS, try_lock
from mlplab.run_names import LOCK, check_name, is_set_up_only
from mlplab.terminal.suggested import resume_command

_OPEN_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class RunFolder(Closing):
    """A run's folder, owned while its lock file is locked.

    The kernel releases the lock when the process ends, however it ends, so there are no stale
    locks. The lock file stays and names the last owner.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    @classmethod
    def locked(cls, path: Path) -> RunFolder:
        """Lock an existing folder and return it. Raises FolderInUseError as `lock` does."""
        folder = cls(path)
        folder.lock()
        return folder

    def lock(self, *, fresh: bool = False) -> None:
        """Lock the folder. Raises FolderInUseError if another process, or another RunFolder of this
        process, has locked it, and LinkError if its lock file is a symbolic link.

        `fresh`: on a file system without locks, an existing lock file counts as locked too.
        """
        refuse_links([self.path / LOCK])
        try:
            self._descriptor, new = _open_lock(self.path / LOCK)
        except OSError as error:
            raise FolderError(f"{self.path} cannot be written to: {error.strerror}.") from None
        try:
            self._acquire(new, fresh)
            os.ftruncate(self._descriptor, 0)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            os.write(
                self._descriptor,
                f"{socket.gethostname()} process {os.getpid()} since {now}\n".encode(),
            )
        except BaseException:
            self.close()
            raise

    def _acquire(self, new: bool, fresh: bool) -> None:
        try:
            acquired = try_lock(self._descriptor)
        except OSError as error:
            if not HAS_LOCKS or os.environ.get("MLPLAB_NO_LOCK") == "1":
                if fresh and not new:
                    raise _in_use(self.path, self._descriptor) from None
                return
            if new:
                os.unlink(self.path / LOCK)
            raise FolderError(
                f"The file system of {self.path} has no file locks ({error.strerror}), which keep"
                " two runs from sharing a folder: choose a hydra.run.dir on another file system, or"
                " set MLPLAB_NO_LOCK=1 and make sure that no two runs share a folder."
            ) from None
        if not acquired:
            raise _in_use(self.path, self._descriptor)

    def close(self) -> None:
        """Release the folder; closing it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __fspath__(self) -> str:
        return str(self.path)


def _open_lock(path: Path) -> tuple[int, bool]:
    """Return the lock file's descriptor, and whether this call created it."""
    try:
        return os.open(path, _OPEN_FLAGS | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(path, _OPEN_FLAGS), False


def is_locked(path: Path) -> bool:
    """Whether another process has locked the folder, as that of a run is while it trains."""
    return _error_if_locked(path) is not None


def _error_if_locked(path: Path) -> FolderInUseError | None:
    """Return the error for a folder that another process has locked, or None. Its lock is tested,
    not kept.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(path / LOCK, _OPEN_FLAGS)
        try:
            if not try_lock(descriptor):
                return _in_use(path, descriptor)
        finally:
            os.close(descriptor)
    return None


def _in_use(path: Path, descriptor: int) -> FolderInUseError:
    owner = re.sub(rb"[^ -~]", b"", os.read(descriptor, 300)).decode().strip() or "another process"
    return FolderInUseError(
        f"{path} is in use by {owner}: choose another hydra.run.dir, or wait until it has ended."
    )


def create(path: Path) -> RunFolder:
    """Create the folder of a run and lock it. An existing folder is used if it is empty, or holds
    only what a run left that ended during its set-up.

    Raises FolderInUseError if the folder is locked or not empty, FolderError if it cannot be
    created, and LinkError as `refuse_links_in_outputs` does.
    """
    refuse_links_in_outputs(path)
    if path.parts[:1] and path.parts[0].startswith("~"):
        raise FolderError(
            f"{path} starts with ~, which only a shell expands to the home folder: write the full"
            " path."
        )
    created = _make(path)
    folder = RunFolder(path)
    try:
        folder.lock(fresh=True)
        entries = set(os.listdir(path))
        if not is_set_up_only(entries):  # another run has filled it meanwhile
            folder.close()
            raise _not_empty(path)
        try:
            _remove_set_up(path, entries)
        except OSError:
            folder.close()
            raise _not_empty(path) from None
    except BaseException:
        folder.close()
        if created:
            with contextlib.suppress(OSError):  # not empty: another run uses it
                path.rmdir()
        raise
    return folder


def _make(path: Path) -> bool:
    """Create the folder, or check that it exists and is empty; return whether it was created."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
        return True
    except (FileExistsError, NotADirectoryError):
        _require_empty(path)
        return False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FolderError(
            f"The run folder {str(path)!r} cannot be created: {reason}. Choose another"
            " hydra.run.dir."
        ) from None


def _require_empty(path: Path) -> None:
    if path.is_symlink():
        raise FolderError(
            f"{path} is a symbolic link, and the folder of a run must be a real folder. Choose"
            " another hydra.run.dir."
        )
    if not path.is_dir():
        file = next((parent for parent in (path, *path.parents) if os.path.lexists(parent)), path)
        raise FolderError(
            f"The run folder {path} cannot be created: {file} is not a folder. Choose another"
            " hydra.run.dir."
        )
    try:
        entries = set(os.listdir(path))
    except OSError as error:
        raise FolderError(
            f"The run folder {path} cannot be read: {error.strerror}. Choose another hydra.run.dir."
        ) from None
    if not is_set_up_only(entries):
        raise _not_empty(path)


def _remove_set_up(path: Path, entries: Collection[str]) -> None:
    """Remove what the set-up of a run left in a locked folder. Raises OSError if that is more than
    set-up writes, such as a checkpoint.
    """
    for name in sorted(set(entries) - {LOCK}):
        if name == "checkpoints" and not (path / name).is_symlink():
            (path / name).rmdir()
        else:
            (path / name).unlink()


def _not_empty(path: Path) -> FolderInUseError:
    """The error for a folder that holds a run in progress or anything else."""
    return _error_if_locked(path) or FolderInUseError(
        f"{path} is not empty, and a run never overwrites another: choose another hydra.run.dir, or"
        f" finish the run in it with `{resume_command(path)}`."
    )


def create_unique(path: Path) -> RunFolder:
    """Create and lock `path`, or the first of path-2, path-3, ... that no other run uses."""
    for number in itertools.count(1):
        with contextlib.suppress(FolderInUseError):
            return create(path if number == 1 else path.with_name(f"{path.name}-{number}"))
    raise AssertionError("unreachable")


def default_folder(root: Path, name: str, below: str = "runs") -> Path:
    """Return the default folder of a run: root/runs/<name>/<time>-<8 random hex digits>, or of one
    with the key `debug` `below` DEBUG.

    Nothing is created. Raises FolderError if the name is not valid on every file system, or leads
    out of `root`.
    """
    check_name(name)
    parent = root / below / name
    if not parent.resolve().is_relative_to(root.resolve()):
        raise FolderError(
            f"The name {name!r} leads out of {root}, to {parent.resolve()}: choose another name."
        )
    return parent / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{os.urandom(4).hex()}"
