"""Traces of calls and selections; without OpenTelemetry, which :mod:`seedzoo_server.otel` brings, they go nowhere.

No name of a file, class, slice or tenant, no label and no token enters a span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from seedzoo.errors import MissingExtra
from seedzoo.records import ProgressUpdate, SelectionReport

__all__ = ["SelectionTrace", "Tracing", "open_tracing"]


class SelectionTrace:
    """What is told of one selection at work; this one forgets it. Used by one thread at a time."""

    def progress(self, update: ProgressUpdate) -> None:
        """The selection is that far."""

    def ended(self, outcome: str, report: SelectionReport | None = None) -> None:
        """It ended: ``succeeded`` (with a report), ``failed``, ``stopped`` or ``awaiting_labels``."""


_NOTHING = SelectionTrace()


def _nobody(_code: grpc.StatusCode) -> None:
    """Told how a call ended."""


class Tracing:
    """Makes spans; this one makes none."""

    def call(
        self,
        method: str,  # noqa: ARG002
        *,
        metadata: Iterable[tuple[str, Any]],  # noqa: ARG002
        request_id: str,  # noqa: ARG002
    ) -> Callable[[grpc.StatusCode], None]:
        """A call begins; what is returned is told how it ended.

        Args:
            method: ``/package.Service/Method``.
            metadata: What came with the call; may name the caller's trace.
            request_id: As in the log.
        """
        return _nobody

    def origin(self) -> object:
        """The call being served, for :meth:`selection`."""
        return None

    @contextmanager
    def selection(
        self,
        selection_id: str,  # noqa: ARG002
        *,
        epoch: int,  # noqa: ARG002
        origin: object,  # noqa: ARG002
    ) -> Iterator[SelectionTrace]:
        """Around the work on a selection, in its thread.

        Args:
            selection_id: Which one.
            epoch: Under which it is worked on.
            origin: The call that started it, where this process served it.
        """
        yield _NOTHING

    def close(self) -> None:
        """Send what has not been sent."""


def open_tracing(*, otel: bool) -> Tracing:
    """Traces to where the environment's ``OTEL_*`` variables say, or nowhere.

    Raises:
        MissingExtra: OpenTelemetry is not installed.
        RequestError: The variables name an exporter or a protocol that is not there.
    """
    if not otel:
        return Tracing()
    try:
        from seedzoo_server.otel import open_telemetry  # noqa: PLC0415  (costs nothing where it is not asked for)
    except ImportError as error:
        raise MissingExtra("OpenTelemetry is not installed", hint="pip install 'seedzoo[otel]'") from error
    return open_telemetry()
