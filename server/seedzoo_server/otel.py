"""Traces by OpenTelemetry; needs the extra ``otel``.

Spans of calls follow its conventions for gRPC servers, without the caller's address. A selection is a span of the trace
that started it, with a child for each phase; where another server takes it over, it is the root of a trace of its own
with the same selection id.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import grpc
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from seedzoo.errors import RequestError
from seedzoo.records import ProgressUpdate, SelectionPhase, SelectionReport
from seedzoo_server.tracing import SelectionTrace, Tracing

__all__ = ["OpenTelemetry", "open_telemetry"]

_SERVICE = "seedzoo-server"
_PHASES = {
    SelectionPhase.LOADING: "load",
    SelectionPhase.EVALUATING: "evaluate",
    SelectionPhase.CHOOSING: "choose",
}
_OUR_FAULT = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that make a server's span an error: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/."""
_call: ContextVar[trace.Span | None] = ContextVar("seedzoo_span", default=None)


class OpenTelemetry(Tracing):
    """Makes spans.

    Args:
        provider: Of tracers; closed with this.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("seedzoo_server")

    def call(
        self, method: str, *, metadata: Iterable[tuple[str, Any]], request_id: str
    ) -> Callable[[grpc.StatusCode], None]:
        """A span of the caller's trace, where the metadata names one."""
        service, _, name = method.strip("/").rpartition("/")
        wanted = set(propagate.get_global_textmap().fields)
        carrier = {key: value for key, value in metadata if key in wanted and isinstance(value, str)}
        span = self._tracer.start_span(
            f"{service}/{name}",
            context=propagate.extract(carrier),
            kind=trace.SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": name,
                "seedzoo.request_id": request_id,
            },
        )
        # Not made OpenTelemetry's current span: a stream that is torn down elsewhere could not take that back. This
        # variable lasts as long as the call's own context.
        _call.set(span)

        def ended(code: grpc.StatusCode) -> None:
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            if code in _OUR_FAULT:
                span.set_status(trace.StatusCode.ERROR, code.name)
            span.end()

        return ended

    def origin(self) -> object:
        """The span of the call."""
        return _call.get()

    @contextmanager
    def selection(self, selection_id: str, *, epoch: int, origin: object) -> Iterator[SelectionTrace]:
        """A span of the trace that started it."""
        parent = trace.set_span_in_context(origin) if isinstance(origin, trace.Span) else None
        span = self._tracer.start_span(
            "selection",
            context=parent,
            attributes={"seedzoo.selection_id": selection_id, "seedzoo.epoch": epoch},
        )
        spans = _Spans(self._tracer, span)
        try:
            yield spans
        finally:
            spans.close()

    def close(self) -> None:
        """Send what has not been sent; a collector that is away holds this up for seconds, not for ever."""
        self._provider.shutdown()


class _Spans(SelectionTrace):
    """A selection's span and that of its phase."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._phase: SelectionPhase | None = None
        self._part: trace.Span | None = None

    def progress(self, update: ProgressUpdate) -> None:
        """Begin the span of a phase, or count in it."""
        if update.phase is not self._phase:
            self._end_part()
            self._phase = update.phase
            if (name := _PHASES.get(update.phase)) is not None:
                self._part = self._tracer.start_span(f"selection.{name}", context=trace.set_span_in_context(self._span))
        if self._part is not None:
            self._part.set_attribute("seedzoo.examples_seen", update.examples_seen)
            self._part.set_attribute("seedzoo.examples", update.examples_total)

    def ended(self, outcome: str, report: SelectionReport | None = None) -> None:
        """What came of it, and what it took."""
        self._end_part()
        self._span.set_attribute("seedzoo.outcome", outcome)
        if outcome == "failed":
            self._span.set_status(trace.StatusCode.ERROR)
        if report is not None:
            self._span.set_attributes(
                {
                    "seedzoo.examples": report.n_examples,
                    "seedzoo.examples_unlabelled": report.n_unlabelled,
                    "seedzoo.passes": report.evaluations,
                    "seedzoo.passes_exhaustive": report.evaluations_exhaustive,
                }
            )

    def close(self) -> None:
        """End what has not ended."""
        self._end_part()
        self._span.end()

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.end()
            self._part = None


def open_telemetry(environ: Mapping[str, str] | None = None) -> OpenTelemetry:
    """Spans to where the ``OTEL_*`` variables say: OTLP over HTTP to localhost:4318 where they say nothing.

    Args:
        environ: The environment; that of the process when None. What the exporter itself reads is the process's.

    Raises:
        RequestError: The variables name an exporter or a protocol that is not there.
    """
    environment = os.environ if environ is None else environ
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create(None if named else {"service.name": _SERVICE}))
    exporter = _exporter(environment)
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return OpenTelemetry(provider)


def _exporter(environment: Mapping[str, str]) -> SpanExporter | None:
    kind = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if kind == "none":
        return None
    if kind == "console":
        return ConsoleSpanExporter()
    if kind != "otlp":
        raise RequestError(
            f"OTEL_TRACES_EXPORTER names the exporter {kind[:40]!r}, which is not there",
            hint="There are otlp, console and none.",
            field="otel",
        )
    protocol = (
        environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol != "http/protobuf":
        raise RequestError(
            f"the protocol {protocol[:40]!r} of OTLP is not there",
            hint="Traces go out by http/protobuf; collectors take it on port 4318.",
            field="otel",
        )
    return OTLPSpanExporter()
