"""Long calls run in a thread of their own, so that Ctrl-C cannot tear grpc apart.

Ctrl-C is raised in the main thread between any two instructions. Between those in which grpc registers a stream and
starts the thread that serves it, or while a lock is taken, it leaves a channel whose ``close()`` waits for ever. Here
the main thread only waits on a queue that is written in C and safe to interrupt; callbacks still run in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from seedzoo_client.progress import Progress, ProgressCallback

__all__ = ["in_background"]

_LOOK_SECONDS = 0.1

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Returned(Generic[_T]):
    value: _T


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


class _Abandoned(BaseException):
    """Ends a worker that nobody waits for any more."""


def _next(reports: SimpleQueue[_T]) -> _T:
    while True:
        # A signal that comes just before a wait without end begins would be noticed when it ends.
        with suppress(Empty):
            return reports.get(timeout=_LOOK_SECONDS)


def in_background(
    work: Callable[[ProgressCallback], _T],
    *,
    progress: ProgressCallback,
    abandoned: Callable[[], None] = lambda: None,
) -> _T:
    """Run ``work`` in another thread and wait for it.

    Args:
        work: Gets a callback for its progress, at which it ends when nobody waits any more.
        progress: Called in this thread with what the work reports.
        abandoned: Called before Ctrl-C, or what ``progress`` raised, is passed on.
    """
    reports: SimpleQueue[Progress | _Returned[_T] | _Raised] = SimpleQueue()
    stopped = threading.Event()

    def show(report: Progress) -> None:
        if stopped.is_set():
            raise _Abandoned
        reports.put(report)

    def run() -> None:
        try:
            reports.put(_Returned(work(show)))
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            reports.put(_Raised(error))

    try:
        threading.Thread(target=run, name="seedzoo-client", daemon=True).start()
        while isinstance(report := _next(reports), Progress):
            progress(report)
    except BaseException:
        stopped.set()
        abandoned()
        raise
    if isinstance(report, _Raised):
        raise report.error
    return report.value
