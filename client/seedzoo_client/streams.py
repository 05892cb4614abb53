"""Open streams where Ctrl-C cannot tear grpc apart."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["open_stream"]

_T = TypeVar("_T")


def open_stream(start: Callable[[], _T]) -> _T:
    """Call ``start`` in another thread and return what it returns.

    Ctrl-C is raised in the main thread, between any two instructions. Between those in which grpc registers a stream
    and starts the thread that serves it, the channel is left in a state in which its ``close()`` waits for ever.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="seedzoo-stream") as pool:
        return pool.submit(start).result()
