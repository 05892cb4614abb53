"""OpenTelemetry traces of a real server: which spans there are, what they say, and what never enters them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.integration.real_server import Caller, examples, serving, small_store
from tests.support import example_files

from seedzoo.catalog.memory import MemoryStore
from seedzoo.errors import MissingExtra, RequestError
from seedzoo_server import app
from seedzoo_server.tokens import Tokens
from seedzoo_server.tracing import open_tracing

pytest.importorskip("opentelemetry.sdk.trace", reason="needs the extra otel")

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from seedzoo_server.otel import OpenTelemetry, open_telemetry

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "asked-by-me"))


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return small_store(tmp_path)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(app, "open_tracing", lambda *, otel: OpenTelemetry(provider))
    return found


@pytest.fixture
def token(store: MemoryStore) -> str:
    return Tokens(store).create("acme", "selector")[0]


@pytest.fixture
def selected(store: MemoryStore, exporter: InMemorySpanExporter, token: str) -> list[ReadableSpan]:
    """The spans of one selection, from a caller with a trace of its own."""
    with (
        serving(store, auth="tokens") as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        caller = Caller(channel, (*CALLER, ("authorization", f"Bearer {token}")))
        classes = caller("GetFamily", name="mini").task.classes
        contents, labels = examples(classes)
        selection = caller.start(caller.upload(contents, labels, classes))
        assert caller.settled(selection.id).report.recommended
    return list(exporter.get_finished_spans())


def named(spans: list[ReadableSpan], name: str) -> ReadableSpan:
    (found,) = [span for span in spans if span.name == name]
    return found


def test_calls_belong_to_the_callers_trace(selected: list[ReadableSpan]) -> None:
    span = named(selected, "seedzoo.v1.SelectionService/StartSelection")
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.kind is SpanKind.SERVER
    assert span.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "seedzoo.v1.SelectionService",
        "rpc.method": "StartSelection",
        "rpc.grpc.status_code": 0,
        "seedzoo.request_id": "asked-by-me",
    }


def test_a_selection_has_its_phases_and_numbers(selected: list[ReadableSpan]) -> None:
    started = named(selected, "seedzoo.v1.SelectionService/StartSelection")
    selection = named(selected, "selection")
    assert selection.parent == started.context
    assert selection.attributes is not None
    seen = len(example_files(per_class=2))
    assert {key: value for key, value in selection.attributes.items() if key != "seedzoo.selection_id"} == {
        "seedzoo.epoch": 1,
        "seedzoo.outcome": "succeeded",
        "seedzoo.examples": seen,
        "seedzoo.examples_unlabelled": 0,
        "seedzoo.passes": 4 * seen,
        "seedzoo.passes_exhaustive": 4 * seen,
    }
    parts = [named(selected, f"selection.{phase}") for phase in ("load", "evaluate", "choose")]
    for part in parts:
        assert part.parent == selection.context
        assert part.attributes is not None
        assert part.attributes["seedzoo.examples"] == seen
    times = [(part.start_time or 0, part.end_time or 0) for part in parts]
    assert times == sorted(times)
    assert (selection.start_time or 0) <= times[0][0]
    assert times[-1][1] <= (selection.end_time or 0)


def test_no_names_labels_or_tokens_in_spans(selected: list[ReadableSpan], token: str) -> None:
    told = "\n".join(span.to_json() for span in selected)
    for secret in (token, token.rsplit(".", maxsplit=1)[-1], "Bearer", "acme", "authorization", "Trouser", "127.0.0.1"):
        assert secret not in told, secret


def test_how_calls_fail(store: MemoryStore, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("with a secret")

    monkeypatch.setattr("seedzoo_server.catalog_service.CatalogServicer.ListFamilies", broken)
    with serving(store) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        caller = Caller(channel)
        assert caller.code("GetFamily", name="nothing-of-the-kind") is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError):
            caller("ListFamilies")
    spans = list(exporter.get_finished_spans())
    refused = named(spans, "seedzoo.v1.CatalogService/GetFamily")
    failed = named(spans, "seedzoo.v1.CatalogService/ListFamilies")
    assert refused.attributes is not None
    assert failed.attributes is not None
    assert refused.attributes["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert refused.status.status_code is StatusCode.UNSET, "the caller's mistake is not the server's error"
    assert failed.attributes["rpc.grpc.status_code"] == grpc.StatusCode.INTERNAL.value[0]
    assert failed.status.status_code is StatusCode.ERROR
    assert "nothing-of-the-kind" not in refused.to_json()
    assert "secret" not in failed.to_json()


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """An OTLP collector: its URL and what it was sent."""
    sent: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                sent.append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", sent
        server.shutdown()
        thread.join()


def test_spans_reach_the_collector_that_the_environment_names(
    store: MemoryStore, collector: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, sent = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("SEEDZOO_SERVER_OTEL", "true")
    with serving(store) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert Caller(channel)("ListFamilies").families
    (request,) = [trace_service_pb2.ExportTraceServiceRequest.FromString(body) for body in sent]
    (resource,) = request.resource_spans
    service = {entry.key: entry.value.string_value for entry in resource.resource.attributes}["service.name"]
    assert service == "seedzoo-server"
    assert [span.name for span in resource.scope_spans[0].spans] == ["seedzoo.v1.CatalogService/ListFamilies"]


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
    ],
)
def test_what_is_not_there_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="is not there"):
        open_telemetry(environ)


def test_none_exports_nothing() -> None:
    open_telemetry({"OTEL_TRACES_EXPORTER": "none"}).close()


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry") or name == "seedzoo_server.otel"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    open_tracing(otel=False).close()
    with pytest.raises(MissingExtra, match="OpenTelemetry is not installed"):
        open_tracing(otel=True)


def test_nothing_of_it_is_imported_where_it_is_not_asked_for() -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import seedzoo_server.app, seedzoo_server.commands; "
        "from seedzoo_server.tracing import open_tracing; open_tracing(otel=False); "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
