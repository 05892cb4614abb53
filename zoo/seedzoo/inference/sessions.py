"""Open sessions of many models within a memory budget: opened when first needed, those of long ago closed for room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seedzoo.allocator import give_back
from seedzoo.inference.session import Model

__all__ = ["Sessions", "session_bytes"]

_PER_FILE_BYTE, _BASE_BYTES = 1.25, 1 << 20


def session_bytes(file_bytes: int) -> int:
    """What an open session takes: 1.25 x its file and 1 MiB.

    Measured, resident memory per session: ResNet-50 of 102 MB took 118 MB, a starter variant of .3 MB took .5 MB.
    What runs compute belongs to the threads that run them. While a session is opened the file is in memory a few times
    more.
    """
    return int(_PER_FILE_BYTE * file_bytes) + _BASE_BYTES


@dataclass(slots=True, eq=False)
class _Open:
    """A session, or one that is being opened.

    Attributes:
        cost: Bytes that it is reckoned with.
        users: Threads that hold it.
        ready: Set when ``model`` is there or opening it failed.
    """

    cost: int
    users: int = 0
    ready: threading.Event = field(default_factory=threading.Event)
    model: Model | None = None


class Sessions:
    """The sessions of M models; may be shared by threads, of which several may use one session.

    Args:
        loaders: Opens each model.
        costs: Bytes that each is reckoned with when open, see :func:`session_bytes`.
        budget: Bytes that all open ones may take together; one session may always be open, whatever it takes.
    """

    def __init__(self, loaders: Sequence[Callable[[], Model]], costs: Sequence[int], budget: int) -> None:
        self._loaders = loaders
        self._costs = costs
        self._budget = budget
        self._changed = threading.Condition()
        self._open: OrderedDict[int, _Open] = OrderedDict()
        """Least recently used first."""
        self._untidy = False
        """Whether what was closed may still be held by the allocator."""
        self.opened = 0
        """How many times a session was opened."""
        self.providers: set[str] = set()
        """What ran them."""

    def __len__(self) -> int:
        return len(self._loaders)

    @property
    def fit(self) -> bool:
        """Whether all may be open at the same time."""
        return sum(self._costs) <= self._budget

    @property
    def room(self) -> int:
        """How many of the largest may be open at the same time."""
        return max(1, self._budget // max(1, *self._costs))

    def in_good_order(self, columns: Sequence[int] | NDArray[np.integer]) -> list[int]:
        """These models' positions in ``columns``, those of open sessions first, so that none closes before its use."""
        with self._changed:
            ready = set(self._open)
        return sorted(range(len(columns)), key=lambda place: int(columns[place]) not in ready)

    @contextmanager
    def borrow(self, index: int) -> Iterator[Model]:
        """A model, opened when it is not open; waits while those in use leave no room for it.

        Raises:
            ZooError: As its loader; the next one who asks tries again.
        """
        entry, mine = self._taken(index)
        try:
            if mine:
                self._fill(index, entry)
            entry.ready.wait()
            if entry.model is None:  # whoever opened it was told why
                with self.borrow(index) as model:
                    yield model
            else:
                yield entry.model
        finally:
            with self._changed:
                entry.users -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Close what nobody uses, and give its memory back to the system."""
        with self._changed:
            closed = [index for index, entry in self._open.items() if not entry.users]
            for index in closed:
                del self._open[index]
        if closed or self._untidy:
            give_back()

    def _taken(self, index: int) -> tuple[_Open, bool]:
        """The entry with this thread among its users, and whether this thread has to open it."""
        with self._changed:
            while True:
                entry = self._open.get(index)
                if entry is not None:
                    self._open.move_to_end(index)
                    entry.users += 1
                    return entry, False
                if self._made_room(self._costs[index]):
                    entry = self._open[index] = _Open(self._costs[index], users=1)
                    return entry, True
                self._changed.wait()

    def _made_room(self, cost: int) -> bool:
        held = cost + sum(entry.cost for entry in self._open.values())
        for index in [index for index, entry in self._open.items() if not entry.users]:
            if held <= self._budget:
                break
            held -= self._open.pop(index).cost
            self._untidy = True
        return held <= self._budget or not self._open

    def _fill(self, index: int, entry: _Open) -> None:
        try:
            if self._untidy:
                self._untidy = False
                give_back()
            entry.model = self._loaders[index]()
        except BaseException:
            with self._changed:
                self._open.pop(index, None)
            raise
        finally:
            entry.ready.set()
        with self._changed:
            self.opened += 1
            self.providers.add(entry.model.provider)
