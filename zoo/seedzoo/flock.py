"""Locks on open files that the operating system frees however their process ends; POSIX only, and said so."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from seedzoo.errors import LocalFailure

__all__ = ["flock", "require_flock"]


def require_flock() -> None:
    """Refuse to go on where this system has no such locks. Raises LocalFailure."""
    if find_spec("fcntl") is None:
        raise LocalFailure(
            f"this needs locks on files, which Python does not have on this system ({sys.platform})",
            hint="Use a store of the kind s3://, or run this on Linux or macOS (on Windows, in WSL).",
            reason="NO_FILE_LOCKS",
        )


def flock(descriptor: int, *, wait: bool = True) -> None:
    """Lock an open file for its owner alone.

    Args:
        descriptor: Of the file.
        wait: For whoever holds the lock now.

    Raises:
        OSError: Somebody else holds it (BlockingIOError), or the file system knows no locks.
        LocalFailure: This system has no such locks.
    """
    require_flock()
    import fcntl  # noqa: PLC0415  (not on Windows, where all that needs no lock still works)

    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
