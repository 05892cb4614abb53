"""How long a client goes on without its server, on a clock that the test moves."""

from __future__ import annotations

import grpc
import pytest
from test_client_pieces import Failed, detailed

from seedzoo.errors import LimitExceeded, NotFound, Unavailable
from seedzoo_client import Progress, RetryConfig, Stage
from seedzoo_client.progress import ignore
from seedzoo_client.retry import Backoff, patiently, persistently

CODE = grpc.StatusCode
GONE = detailed(CODE.UNAVAILABLE, "gone", kind="Unavailable", reason="R")


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def backoff(clock: Clock, seen: list[Progress], config: RetryConfig | None = None) -> Backoff:
    return Backoff(config or RetryConfig(), progress=seen.append, clock=lambda: clock.now, sleep=clock.sleep)


def test_goes_on_for_more_than_a_minute_and_then_ends() -> None:
    clock, seen = Clock(), list[Progress]()
    waiting = backoff(clock, seen)
    while waiting.pause(GONE):
        assert clock.now - 1_000 < 100
    assert clock.now - 1_000 >= 60
    assert max(clock.pauses) <= 2, "a server that is back is noticed soon"
    assert clock.pauses[0] <= 0.25


def test_progress_starts_the_time_again() -> None:
    clock = Clock()
    waiting = backoff(clock, [], RetryConfig(total_seconds=10))
    for _ in range(100):
        waiting.progressed()
        assert waiting.pause(GONE)
        clock.now += 60
    assert not waiting.pause(GONE)


def test_one_failure_is_no_trouble_and_two_are() -> None:
    clock, seen = Clock(), list[Progress]()
    waiting = backoff(clock, seen)
    waiting.pause(GONE)
    assert seen == []
    waiting.pause(GONE)
    assert seen == [Progress(Stage.RECONNECTING, detail="gone")]


def test_a_call_is_repeated_until_the_server_is_back() -> None:
    seen: list[Progress] = []
    failures = [
        Failed(CODE.UNAVAILABLE, "Socket closed"),
        Failed(CODE.UNAVAILABLE, "Connection refused"),
        detailed(CODE.UNAVAILABLE, "the store is slow", kind="StoreError", reason="STORE_FAILED"),
    ]

    def call() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    quick = RetryConfig(initial_seconds=0.001)
    assert persistently(call, config=quick, server="h:1", progress=seen.append) == "done"
    assert [update.detail for update in seen] == ["connection lost", "the store is slow"]


@pytest.mark.parametrize(
    ("failed", "kind"), [(Failed(CODE.NOT_FOUND, "gone"), NotFound), (Failed(CODE.UNAVAILABLE, "x"), Unavailable)]
)
def test_a_call_that_fails_for_good(failed: Failed, kind: type[Exception]) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise failed

    with pytest.raises(kind):
        persistently(call, config=RetryConfig(total_seconds=0, initial_seconds=0.001), server="h:1", progress=ignore)
    assert len(calls) == (1 if kind is NotFound else 2)


def refused(seconds: float | None, *, domain: str = "seedzoo") -> Failed:
    return detailed(
        CODE.RESOURCE_EXHAUSTED, "too many", kind="LimitExceeded", reason="QUEUE_FULL", domain=domain, retry_s=seconds
    )


@pytest.mark.parametrize("domain", ["seedzoo", "a.proxy"])
def test_a_server_that_names_a_time_is_not_asked_earlier(domain: str) -> None:
    clock, seen = Clock(), list[Progress]()
    waiting = backoff(clock, seen)
    assert waiting.pause(refused(40, domain=domain))
    assert 40 <= clock.pauses[0] <= 44
    assert seen == [Progress(Stage.RECONNECTING, detail="too many (it asks to wait 40 s)")], "told before the wait"


def test_short_waits_are_not_worth_a_word() -> None:
    clock, seen = Clock(), list[Progress]()
    assert backoff(clock, seen).pause(refused(0.02))
    assert 0.02 <= clock.pauses[0] <= 0.022
    assert seen == []


def test_a_time_beyond_our_own_ends_the_attempts_at_once() -> None:
    clock, seen = Clock(), list[Progress]()
    waiting = backoff(clock, seen, RetryConfig(total_seconds=60))
    assert not waiting.pause(refused(61))
    assert (clock.pauses, seen) == ([], [])
    assert backoff(clock, seen, RetryConfig(total_seconds=60)).pause(refused(59))


def test_a_call_that_is_refused_for_now_is_made_again() -> None:
    failures = [refused(0.01), refused(0.01)]

    def call() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    assert persistently(call, config=RetryConfig(), server="h:1", progress=ignore) == "done"
    failures += [refused(0.01)]
    assert patiently(call, seconds=5, server="h:1") == "done"


@pytest.mark.parametrize(
    ("failed", "kind"),
    [(refused(None), LimitExceeded), (refused(6), LimitExceeded), (GONE, Unavailable)],
    ids=["quota", "too late", "other trouble"],
)
def test_reading_calls_wait_for_nothing_else(failed: Failed, kind: type[Exception]) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise failed

    with pytest.raises(kind):
        patiently(call, seconds=5, server="h:1")
    assert len(calls) == 1
