"""A real server that lets a tenant call only so often."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest
from real_server import Caller, fault, serving, small_store

from seedzoo.errors import LimitExceeded
from seedzoo_client import AsyncClient, Client
from seedzoo_client.status import from_rpc_error, is_transient
from seedzoo_server import rates
from seedzoo_server.tokens import Tokens


def test_a_tenant_that_calls_too_often_waits_and_others_do_not(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    with (
        serving(store, auth="tokens", tenant_calls_per_s=0.001) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        first, second, other = (
            Caller(channel, (("authorization", f"Bearer {Tokens(store).create(tenant, 'reader')[0]}"),))
            for tenant in ("acme", "acme", "other")
        )
        assert first("GetFamily", name="mini").name == "mini"
        with pytest.raises(grpc.RpcError) as caught:
            second("GetFamily", name="mini")  # another token of the same tenant
        assert fault(caught.value)[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert is_transient(caught.value)
        shown = from_rpc_error(caught.value, server="here")
        assert (type(shown).__name__, shown.hint.split(",")[0]) == ("LimitExceeded", "Try again in 1000 s")
        assert other("GetFamily", name="mini").name == "mini"


def test_nobody_is_counted_where_nobody_is_told_apart(tmp_path: Path) -> None:
    with (
        serving(small_store(tmp_path), tenant_calls_per_s=0.001) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for _ in range(5):
            assert Caller(channel)("GetFamily", name="mini").name == "mini"


def test_clients_come_back_when_the_server_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clients, on a server that refuses each call once: not one of them fails, and none comes back too early."""
    waited: list[float] = []
    refused: list[float] = []

    def every_other(_: rates.CallRates, tenant: str) -> None:
        if refused:
            waited.append(time.monotonic() - refused.pop())
            return
        refused.append(time.monotonic())
        raise LimitExceeded("too many calls", reason="RATE_LIMITED", retry_s=0.4)

    monkeypatch.setattr(rates.CallRates, "count", every_other)
    with serving(small_store(tmp_path)) as port:
        target, home = f"127.0.0.1:{port}", tmp_path / "home"
        with Client(target, home=home, offline=False) as client:
            assert client.family("mini").name == "mini"
            assert [family.name for family in client.families()] == ["mini"]

        async def asked() -> list[str]:
            async with AsyncClient(target, home=home, offline=False) as client:
                return [(await client.family("mini")).name, *(family.name for family in await client.families())]

        assert asyncio.run(asked()) == ["mini", "mini"]
    assert len(waited) == 4
    assert min(waited) >= 0.4
