"""Work that would block the event loop, in threads; cancelling the task that waits for it is safe."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from seedzoo_client.progress import Progress, ProgressCallback, ignore

__all__ = ["finished", "in_thread"]

_T = TypeVar("_T")


class _Abandoned(BaseException):
    """Ends work that nobody waits for any more."""


async def in_thread(work: Callable[[ProgressCallback], _T], *, progress: ProgressCallback = ignore) -> _T:
    """Run long work in a thread and wait for it.

    Args:
        work: Gets a callback for its progress, at which it ends when nobody waits any more.
        progress: Called in the event loop with what the work reports; what it raises is passed on.
    """
    loop = asyncio.get_running_loop()
    reports: asyncio.Queue[Progress | None] = asyncio.Queue()
    stopped = threading.Event()

    def show(report: Progress) -> None:
        if stopped.is_set():
            raise _Abandoned
        loop.call_soon_threadsafe(reports.put_nowait, report)

    def ended(running: asyncio.Future[_T]) -> None:
        # Looked at, or asyncio would log what an abandoned thread raised.
        if not running.cancelled():
            running.exception()
        reports.put_nowait(None)

    running = loop.run_in_executor(None, partial(work, show))
    running.add_done_callback(ended)
    try:
        while (report := await reports.get()) is not None:
            progress(report)
    except BaseException:
        stopped.set()
        raise
    return running.result()


async def finished(work: Callable[[], _T]) -> _T:
    """Run short work in a thread; a task that is cancelled meanwhile waits for it all the same.

    For work on a file that is closed afterwards: a thread that still writes would write into another file.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise
