"""How often a tenant may call, reckoned by hand."""

from __future__ import annotations

import pytest
from google.rpc import error_details_pb2

from seedzoo.errors import LimitExceeded
from seedzoo_server.border import status_of
from seedzoo_server.rates import CallRates


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def admitted(rates: CallRates, tenant: str, calls: int) -> int:
    """How many of these calls are let in."""
    count = 0
    for _ in range(calls):
        try:
            rates.count(tenant)
        except LimitExceeded:
            continue
        count += 1
    return count


def test_ten_seconds_may_be_saved_and_tenants_do_not_share() -> None:
    clock = Clock()
    rates = CallRates(2, clock=clock)
    assert admitted(rates, "acme", 50) == 20
    assert admitted(rates, "other", 50) == 20
    clock.now += 1.5
    assert admitted(rates, "acme", 50) == 3
    clock.now += 1000
    assert admitted(rates, "acme", 50) == 20


def test_a_refusal_says_when_to_come_back() -> None:
    clock = Clock()
    rates = CallRates(0.2, clock=clock)  # one call in five seconds, two saved
    assert admitted(rates, "acme", 3) == 2
    clock.now += 1
    with pytest.raises(LimitExceeded, match=r"more than 0\.2 calls a second") as caught:
        rates.count("acme")
    assert caught.value.retry_s == pytest.approx(4)
    _, status = status_of(caught.value)
    retry = error_details_pb2.RetryInfo()
    assert [detail.Unpack(retry) for detail in status.details] == [False, True]
    assert retry.retry_delay.ToMilliseconds() in (4000, 4001)
    clock.now += caught.value.retry_s
    assert admitted(rates, "acme", 2) == 1


def test_no_limit() -> None:
    assert admitted(CallRates(0), "acme", 100_000) == 100_000
