"""A server that misbehaves on request and a client of it; a home of its own; executors, Ray among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_fake_zoo import QUICK, FakeZoo, running

from seedzoo.executors import Executor, LocalExecutor, open_executor
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


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's folder; no setting comes from this machine."""
    for name in [name for name in os.environ if name.startswith("SEEDZOO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEEDZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    pytest.importorskip("ray", reason="needs the [cluster] extra")
    from seedzoo.executors.cluster import RayExecutor, import_ray

    with RayExecutor(cpus=2).connected(import_ray()):
        yield


@pytest.fixture(params=["local", "ray"])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return LocalExecutor(cpus=2) if request.param == "local" else open_executor("ray")
