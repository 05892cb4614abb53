"""What an operator sees: metrics over HTTP, and log lines that name the call they belong to."""

from __future__ import annotations

import io
import json
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.integration.test_service import examples, select, serving, upload
from tests.support import small_bundle

from seedzoo.catalog.memory import MemoryStore
from seedzoo.catalog.publish import publish
from seedzoo.errors import LocalFailure
from seedzoo_protos.v1 import catalog_pb2, catalog_pb2_grpc
from seedzoo_server.logs import call_id, configure_logging, new_call
from seedzoo_server.metrics import Metrics, serve_metrics


@pytest.fixture
def shared(tmp_path: Path) -> MemoryStore:
    store = MemoryStore()
    publish(store, small_bundle(tmp_path / "bundle"))
    return store


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, in the form that was configured last."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(stream: io.StringIO, form: str, level: str = "info") -> None:
    configure_logging(form, level)  # type: ignore[arg-type]
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)


def metric(page: str, name: str) -> float:
    return next(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name))


def free_port() -> int:
    port, stop = serve_metrics(Metrics(), "127.0.0.1", 0)
    stop()
    return port


def test_metrics_count_calls_and_selections(shared: MemoryStore) -> None:
    port = free_port()
    with serving(shared, metrics_port=port) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        stub.ListFamilies(catalog_pb2.ListFamiliesRequest())
        with pytest.raises(grpc.RpcError):
            stub.GetFamily(catalog_pb2.GetFamilyRequest(name="nothing"))
        dataset_id = upload(channel, examples(channel, 2))
        first, again = select(channel, dataset_id), select(channel, dataset_id)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
    service = "/seedzoo.v1.CatalogService"
    assert metric(page, f'seedzoo_calls_total{{code="OK",method="{service}/ListFamilies"}}') == 1
    assert metric(page, f'seedzoo_calls_total{{code="NOT_FOUND",method="{service}/GetFamily"}}') == 1
    assert metric(page, f'seedzoo_call_seconds_count{{method="{service}/ListFamilies"}}') == 1
    assert metric(page, 'seedzoo_selections_total{outcome="succeeded"}') == 2
    assert metric(page, "seedzoo_evaluations_total") == first.report.evaluations > 0
    assert again.report.evaluations == 0
    assert metric(page, "seedzoo_evaluations_saved_total") == again.report.evaluations_exhaustive
    assert metric(page, "seedzoo_images_total") == 2 * first.report.n_examples
    assert (metric(page, "seedzoo_selections_waiting"), metric(page, "seedzoo_serving")) == (0, 1)


def test_a_taken_metrics_port_is_one_clear_error(shared: MemoryStore) -> None:
    port, stop = serve_metrics(Metrics(), "127.0.0.1", 0)
    try:
        with (
            pytest.raises(LocalFailure, match=f"cannot serve metrics on 127.0.0.1:{port}"),
            serving(shared, metrics_port=port),
        ):
            pass
    finally:
        stop()


def test_json_lines_name_the_call(shared: MemoryStore, log: io.StringIO) -> None:
    with serving(shared) as channel:
        logged(log, "json")
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        stub.ListFamilies(catalog_pb2.ListFamiliesRequest(), metadata=(("x-request-id", "from-the-caller"),))
        stub.ListFamilies(catalog_pb2.ListFamiliesRequest(), metadata=(("x-request-id", "x" * 65),))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    calls = [line for line in lines if line.get("method", "").endswith("/ListFamilies")]
    assert calls[0]["call"] == "from-the-caller"
    assert (calls[0]["code"], calls[0]["tenant"], calls[0]["level"]) == ("OK", "default", "info")
    assert len(calls[1]["call"]) == 16


@pytest.mark.parametrize("given", [None, "", "x" * 65, "line\nbreak", "umläut", "\x1b[31m"])
def test_only_harmless_request_ids_are_taken_over(given: str | None) -> None:
    assert new_call(given) != given
    assert new_call("abc-123") == call_id.get() == "abc-123"


def test_text_lines_and_exceptions(log: io.StringIO) -> None:
    logged(log, "text", "warning")
    new_call("abc")
    logging.getLogger("seedzoo").info("not shown")
    try:
        raise ValueError("inside")
    except ValueError:
        logging.getLogger("seedzoo").exception("it failed")
    text = log.getvalue()
    assert "not shown" not in text
    assert "ERROR seedzoo: it failed" in text
    assert "ValueError: inside" in text
    assert text.rstrip().endswith("[abc]")
    logged(log, "json")
    logging.getLogger("seedzoo").error("as %s", "json", exc_info=ValueError("x"))
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["message"], line["call"]) == ("as json", "abc")
    assert "ValueError: x" in line["exception"]
