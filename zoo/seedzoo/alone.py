"""One process at a time in a folder whose files are read, and later rewritten from what was read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seedzoo.errors import LocalFailure
from seedzoo.files import local_failure
from seedzoo.flock import flock, require_flock

__all__ = ["alone_in"]

_TAKEN = frozenset({errno.EACCES, errno.EAGAIN})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})
_NAME = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder inside; the operating system frees it however the process ends.

    The folder is made where it is missing. The lock is on its file ``.lock``, which stays: a third process could lock
    a new file while a second one still holds the deleted one. Where the file system knows no locks, there is none.

    Raises:
        LocalFailure: Another process holds it (FOLDER_IN_USE), or the folder cannot be written or locked.
    """
    require_flock()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise local_failure(error, folder / _NAME) from error
    try:
        try:
            flock(descriptor, wait=False)
        except OSError as error:
            if error.errno in _TAKEN:
                raise LocalFailure(
                    f"another run is at work in {folder}",
                    hint="Wait for it, or stop it: what it finished is kept. Other bundles can be measured meanwhile.",
                    reason="FOLDER_IN_USE",
                ) from None
            if error.errno not in _NO_LOCKS:
                raise local_failure(error, folder / _NAME) from error
        yield
    finally:
        os.close(descriptor)
