"""A server that misbehaves on request, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from client_fake_zoo import QUICK, FakeZoo, running

from seedzoo_client import Client


@pytest.fixture
def zoo() -> FakeZoo:
    return FakeZoo()


@pytest.fixture
def address(zoo: FakeZoo) -> Iterator[str]:
    with running(zoo) as found:
        yield found


@pytest.fixture
def client(address: str, tmp_path: Path) -> Iterator[Client]:
    with Client(address, home=tmp_path / "home", offline=False, retry=QUICK) as found:
        yield found
