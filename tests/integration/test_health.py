"""Health and metrics of a server whose store goes away and comes back."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from real_server import Caller, fault, serving, small_store

from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import StoreError
from seedzoo_server import app
from seedzoo_server.metrics import Metrics, serve_metrics

SERVICES = ("", "seedzoo.v1.CatalogService", "seedzoo.v1.DatasetService", "seedzoo.v1.SelectionService")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Leaving:
    """A store that answers nothing while it is away."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.away = threading.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def asked(*arguments: Any, **more: Any) -> Any:
            if self.away.is_set():
                raise StoreError("the store is away")
            return found(*arguments, **more)

        return asked


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_not_serving_while_the_store_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_STORE_LOOK_S", 0.2)
    metrics_port, stop = serve_metrics(Metrics(), "127.0.0.1", 0)
    stop()

    def metric(name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return next(sample.value for sample in samples if sample.name == name)

    store = Leaving(small_store(tmp_path))
    with (
        serving(store, metrics_port=metrics_port) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)

        def all_are(status: int) -> bool:
            return all(stub.Check(health_pb2.HealthCheckRequest(service=name)).status == status for name in SERVICES)

        assert all_are(SERVING)
        assert metric("seedzoo_store_errors_total") == 0
        store.away.set()
        assert eventually(lambda: all_are(NOT_SERVING))
        assert metric("seedzoo_serving") == 0
        before = metric("seedzoo_store_errors_total")
        assert before > 0
        with pytest.raises(grpc.RpcError) as caught:
            Caller(channel)("CreateDataset", request_id="r", classes=["a"], item_count=1)
        assert fault(caught.value)[0] is grpc.StatusCode.UNAVAILABLE
        assert metric("seedzoo_store_errors_total") > before
        store.away.clear()
        assert eventually(lambda: all_are(SERVING))
        assert metric("seedzoo_serving") == 1
        assert Caller(channel)("CreateDataset", request_id="r", classes=["a"], item_count=1).id
