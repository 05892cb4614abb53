"""What was read last, kept in memory: for contents that never change under their key."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Recent"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The most recently used values; safe to use from several threads.

    Args:
        limit: How much is kept: of values that weigh 1 each, how many.
        weigh: Weight of a value; the last one read is kept whatever it weighs.
    """

    def __init__(self, limit: int, *, weigh: Callable[[Value], int] = lambda _: 1) -> None:
        self._limit = limit
        self._weigh = weigh
        self._weight = 0
        self._lock = threading.Lock()
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._reading: dict[Key, Future[Value]] = {}

    def known(self, key: Key) -> Value | None:
        """The value of a key where it is kept, else None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def get(self, key: Key, read: Callable[[], Value]) -> Value:
        """The value of a key, read where it is not kept; what raises is not kept.

        Threads that want the same value at once wait for one reading, and share what it raises. So ``read`` must not
        ask for its own key.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            other = self._reading.get(key)
            if other is None:
                own = self._reading[key] = Future[Value]()
        if other is not None:
            return other.result()
        try:
            value = read()  # outside the lock: none waits for another's key
            weight = self._weigh(value)
        except BaseException as error:
            with self._lock:
                del self._reading[key]
            own.set_exception(error)
            raise
        with self._lock:
            del self._reading[key]
            self._keep(key, value, weight)
        own.set_result(value)
        return value

    def _keep(self, key: Key, value: Value, weight: int) -> None:
        self._values[key] = (value, weight)
        self._weight += weight
        while self._weight > self._limit and len(self._values) > 1:
            _, (_, dropped) = self._values.popitem(last=False)
            self._weight -= dropped

    def drop(self, key: Key) -> None:
        """Forget the value of a key, if it is kept."""
        with self._lock:
            _, weight = self._values.pop(key, (None, 0))
            self._weight -= weight
