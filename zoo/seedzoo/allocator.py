"""Freed memory that the C library keeps, and its way back to the system."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable

__all__ = ["GivingBack", "give_back"]


def give_back() -> None:
    """Return freed memory to the system, where the C library is glibc; others keep their own counsel.

    It takes some milliseconds, in which other threads may wait for memory.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


class GivingBack:
    """Gives memory back each time that so much of it has been used; safe to share between threads.

    Args:
        every: Bytes.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._lock = threading.Lock()
        self._used = 0

    def used(self, count: int) -> None:
        """So many bytes were used, and are free again."""
        with self._lock:
            self._used += count
            if self._used < self._every:
                return
            self._used = 0
        give_back()


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
