"""One process at a time at a file that is rewritten as a whole."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seedzoo.files import local_failure

__all__ = ["InUseError", "alone_at"]

_TAKEN = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})


class InUseError(Exception):
    """Another process is at the file.

    Args:
        process: Its id, as far as it is known.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process


@contextmanager
def alone_at(path: Path) -> Iterator[None]:
    """Hold the lock of ``path`` inside; the operating system frees it however the process ends.

    The lock is one of ``.NAME.lock`` beside the file, because a file that is replaced takes its lock with it. Where
    nothing can be written beside it, or the file system knows no locks, there is none.

    Raises:
        InUseError: Another process holds it.
        LocalFailure: The disk is full or refuses.
    """
    side = path.with_name(f".{path.name}.lock")
    try:
        descriptor = _taken(side)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise local_failure(error, side) from error
        descriptor = None
    try:
        yield
    finally:
        if descriptor is not None:
            # Before it is unlocked: afterwards it may be another process's.
            with suppress(OSError):
                side.unlink(missing_ok=True)
            os.close(descriptor)


def _taken(side: Path) -> int:
    while True:
        descriptor = os.open(side, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            try:
                _lock(descriptor)
            except OSError as error:
                if error.errno in _TAKEN:
                    raise InUseError(_process(descriptor)) from None
                if error.errno not in _NO_LOCKS:
                    raise
            # Who held it before may have removed this file in between.
            if _is_at(descriptor, side):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _process(descriptor: int) -> str:
    # On Windows nobody else can read what is locked.
    with suppress(OSError):
        text = os.read(descriptor, 20).decode("ascii", "replace")
        return text if text.isdecimal() else ""
    return ""


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
