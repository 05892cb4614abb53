"""Work in a thread that can be left behind: Python cannot end a thread that hangs in somebody else's code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["StuckError", "WatchedThread"]

T = TypeVar("T")

_LOOK_S = 0.2


class StuckError(Exception):
    """The work did not show that it goes on, and was left behind."""


class WatchedThread(Generic[T]):
    """One piece of work in a thread of its own, which does not keep the process alive; used inside an event loop.

    Args:
        work: What to do.
        name: Of the thread.
    """

    def __init__(self, work: Callable[[], T], *, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[T] = self._loop.create_future()
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def result(self, *, is_stuck: Callable[[], bool]) -> T:
        """What the work returned; what it raised is raised.

        Args:
            is_stuck: Asked now and then whether the work hangs.

        Raises:
            StuckError: It does; the thread is left to itself.
        """
        try:
            while not self._future.done():
                await asyncio.wait([self._future], timeout=_LOOK_S)
                if not self._future.done() and is_stuck():
                    raise StuckError
            return self._future.result()
        finally:
            self._future.cancel()  # nobody waits for what comes later

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end; whether it did."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            value = self._work()
        except BaseException as error:  # noqa: BLE001  (raised again where somebody waits for it)
            raised = error
            self._settle(lambda: self._future.set_exception(raised))
        else:
            self._settle(lambda: self._future.set_result(value))

    def _settle(self, how: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended before this thread
            self._loop.call_soon_threadsafe(lambda: None if self._future.done() else how())
