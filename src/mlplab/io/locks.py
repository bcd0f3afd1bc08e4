"""Locks of open files, which the system releases when their process ends."""

from __future__ import annotations

import errno
import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LOCK_ERRNOS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)

HAS_LOCKS = fcntl is not None


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; False if another process has locked it. Raises OSError
    if the system or the file system has no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCK_ERRNOS:
            raise
        return False
    return True
