"""What is kept in memory of immutable contents: the most recent, up to a weight, each read once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from seedzoo.catalog.recent import Recent


def test_least_recently_used_goes_first() -> None:
    reads: list[str] = []

    def read(key: str) -> str:
        reads.append(key)
        return key.upper()

    recent: Recent[str, str] = Recent(2)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert recent.get(key, lambda key=key: read(key)) == key.upper()
    assert reads == ["a", "b", "c", "b"]


def test_weights_bound_what_is_kept_and_the_last_one_stays() -> None:
    recent: Recent[str, list[int]] = Recent(10, weigh=len)
    recent.get("small", lambda: [0] * 4)
    large = recent.get("large", lambda: [0] * 40)
    assert recent.get("large", list) is large
    assert recent.get("small", lambda: [1]) == [1]  # it had to go


def test_what_raises_is_not_kept() -> None:
    recent: Recent[str, int] = Recent(2)

    def fail() -> int:
        raise ValueError("unreadable")

    with pytest.raises(ValueError, match="unreadable"):
        recent.get("a", fail)
    assert recent.get("a", lambda: 7) == 7


def test_threads_that_want_the_same_at_once_share_one_reading() -> None:
    recent: Recent[str, object] = Recent(2)
    reading, go = threading.Event(), threading.Event()
    value, reads = object(), []

    def read() -> object:
        reads.append(threading.get_ident())
        reading.set()
        assert go.wait(60)
        return value

    asking = threading.Semaphore(0)

    def ask() -> object:
        asking.release()
        return recent.get("a", read)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(recent.get, "a", read)
        assert reading.wait(60)
        others = [pool.submit(ask) for _ in range(7)]
        for _ in others:
            assert asking.acquire(timeout=60)
        assert recent.get("b", lambda: 7) == 7  # nobody waits for another's key
        go.set()
        assert all(one.result(60) is value for one in (first, *others))
    assert len(reads) == 1


def test_known_and_dropped() -> None:
    recent: Recent[str, list[int]] = Recent(10, weigh=len)
    assert recent.known("a") is None
    kept = recent.get("a", lambda: [0] * 6)
    assert recent.known("a") is kept
    recent.drop("a")
    recent.drop("never there")
    assert recent.known("a") is None
    recent.get("b", lambda: [0] * 6)
    recent.get("c", lambda: [0] * 4)  # what was dropped weighs nothing any more
    assert recent.known("b") is not None
