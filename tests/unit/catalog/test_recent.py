"""What is kept in memory of immutable contents: the most recent, up to a weight, each read once."""

from __future__ import annotations

import threading

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


def test_two_threads_that_read_the_same_get_one_value() -> None:
    recent: Recent[str, object] = Recent(2)
    both = threading.Barrier(2)
    found: list[object] = []

    def read() -> object:
        both.wait(timeout=10)
        return object()

    threads = [threading.Thread(target=lambda: found.append(recent.get("a", read))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] is found[1]
