"""What publishers may change at any moment, kept in memory until one of them says that something changed.

Whoever moves an alias writes one small object anew afterwards (:func:`tell_change`). A reader looks at this one object,
at most every ``look_s`` seconds however many families it serves, and reads anew what it needs once that has changed. A
publisher that dies between the two writes is noticed after :data:`LONGEST_S`, and so is one of a version that does not
write it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ulid import ULID

from seedzoo.catalog.recent import Recent
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import NotFound

__all__ = ["CHANGED_KEY", "LONGEST_S", "Current", "tell_change"]

CHANGED_KEY = "catalog/changed"
LONGEST_S = 60.0
"""After this many seconds everything is read anew, whatever the object says."""
_KEPT = 50_000

Value = TypeVar("Value")


def tell_change(store: ObjectStore) -> None:
    """Let all readers of a store know that an alias was moved. To be called after it was."""
    store.put(CHANGED_KEY, str(ULID()).encode())


class Current(Generic[Value]):
    """Values that were read while the store said what it says now; safe to use from several threads.

    Args:
        store: Where they come from.
        look_s: For how long what the store says is believed, in seconds; 0 keeps nothing.
        clock: Seconds that only go forward.
    """

    def __init__(self, store: ObjectStore, *, look_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._look_s = look_s
        self._clock = clock
        self._looking = threading.Lock()
        self._said: tuple[str, float] | None = None
        self._values: Recent[tuple[str, Hashable], tuple[Value, float]] = Recent(_KEPT)

    def known(self, key: Hashable) -> Value | None:
        """The value of a key if it can be told without asking the store."""
        said = self._said
        if said is None or self._clock() - said[1] >= self._look_s:
            return None
        return self._kept(said[0], key)

    def get(self, key: Hashable, read: Callable[[], Value]) -> Value:
        """The value of a key, at most ``look_s`` old where it changed and its publisher said so.

        Raises:
            StoreError: The store failed.
        """
        if self._look_s <= 0:
            return read()
        mark = self._mark()
        if (known := self._kept(mark, key)) is not None:
            return known

        def timed() -> tuple[Value, float]:
            started = self._clock()
            return read(), started

        # What is read now is kept under what the store said before: if it changes meanwhile, this is not found again.
        return self._values.get((mark, key), timed)[0]

    def _kept(self, mark: str, key: Hashable) -> Value | None:
        found = self._values.known((mark, key))
        if found is None:
            return None
        longest = LONGEST_S if mark else self._look_s  # no publisher has ever said anything: they may all be silent
        if self._clock() - found[1] < longest:
            return found[0]
        self._values.drop((mark, key))
        return None

    def _mark(self) -> str:
        with self._looking:  # whoever waits here finds what another has just read
            now = self._clock()
            if self._said is None or now - self._said[1] >= self._look_s:
                try:
                    mark = self._store.get(CHANGED_KEY).decode(errors="replace")
                except NotFound:
                    mark = ""
                self._said = (mark, now)
            return self._said[0]
