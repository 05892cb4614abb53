"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from seedzoo.errors import LocalFailure
from seedzoo.inference.decoding_process import DeathCause
from seedzoo.records import SelectionReport

__all__ = ["Metrics", "serve_metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "seedzoo_calls", "Calls that ended, by method and status code.", ["method", "code"], registry=self.registry
        )
        self._call_seconds = Histogram(
            "seedzoo_call_seconds", "Duration of calls.", ["method"], buckets=_SECONDS, registry=self.registry
        )
        self._selections = Counter(
            "seedzoo_selections", "Selections that ended on this server.", ["outcome"], registry=self.registry
        )
        self._selection_seconds = Histogram(
            "seedzoo_selection_seconds", "Duration of selections.", buckets=_SECONDS, registry=self.registry
        )
        self._evaluations = Counter("seedzoo_evaluations", "Forward passes: images x variants.", registry=self.registry)
        self._known = Counter(
            "seedzoo_evaluations_saved", "Forward passes not made: kept predictions, races.", registry=self.registry
        )
        self._images = Counter(
            "seedzoo_images", "Images of selections that succeeded, labelled or not.", registry=self.registry
        )
        self._store_errors = Counter(
            "seedzoo_store_errors", "Failures of the object store, also those that passed.", registry=self.registry
        )
        self._decoder_deaths = Counter(
            "seedzoo_decoder_deaths",
            "Processes that decode images and died or were killed over one.",
            ["reason"],
            registry=self.registry,
        )
        for cause in DeathCause:  # there from the start, so that a first one is an increase
            self._decoder_deaths.labels(cause)
        self._waiting = Gauge(
            "seedzoo_selections_waiting", "Selections in this server's queue.", registry=self.registry
        )
        self._serving = Gauge("seedzoo_serving", "1 while the store can be reached.", registry=self.registry)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Ask this for the number of waiting selections whenever somebody looks."""
        self._waiting.set_function(lambda: float(length()))

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """A call of a method ended with this status code."""
        self._calls.labels(method, code).inc()
        self._call_seconds.labels(method).observe(seconds)

    def selection_ended(self, outcome: str, report: SelectionReport | None = None) -> None:
        """A selection ended: ``succeeded`` (with a report), ``failed``, ``stopped`` or ``awaiting_labels``."""
        self._selections.labels(outcome).inc()
        if report is not None:
            self._selection_seconds.observe(report.seconds)
            self._evaluations.inc(report.evaluations)
            self._known.inc(max(report.evaluations_exhaustive - report.evaluations, 0))
            self._images.inc(report.n_examples + report.n_unlabelled)

    def store_failed(self) -> None:
        """The store did not do what it was asked."""
        self._store_errors.inc()

    def decoder_died(self, cause: DeathCause) -> None:
        """A process that decodes images died or was killed."""
        self._decoder_deaths.labels(cause).inc()

    def serving(self, *, reachable: bool) -> None:
        """Whether the store can be reached."""
        self._serving.set(1.0 if reachable else 0.0)


def serve_metrics(metrics: Metrics, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Serve ``/metrics`` over HTTP in a thread of its own.

    Returns:
        The port, and what stops it.

    Raises:
        LocalFailure: The port is taken, or the address is not this machine's.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        raise LocalFailure(
            f"cannot serve metrics on {host}:{port}: {error.strerror or error}",
            hint="Choose another port with --metrics-port.",
            reason="PORT_TAKEN",
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return int(server.server_port), stop
