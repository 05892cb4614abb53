"""A build's working folder belongs to one build at a time: two would write into each other's files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seedzoo.errors import Conflict
from seedzoo.files import local_failure
from seedzoo.flock import flock

__all__ = ["sole_use"]

_LOCK = ".lock"


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made when missing; the system lets go of it when the process ends, however it ends.

    Raises:
        Conflict: Another process holds it (``BUILD_RUNNING``).
        LocalFailure: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise local_failure(error, folder / _LOCK) from error
    try:
        try:
            flock(descriptor, wait=False)
        except BlockingIOError as error:
            raise Conflict(
                f"another build is at work in {folder}",
                hint="Wait until it ends, or name another folder (--out).",
                reason="BUILD_RUNNING",
            ) from error
        yield
    finally:
        os.close(descriptor)
