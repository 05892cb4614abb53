"""What is seen of a selection: its progress, its end, and how long it may be out of sight."""

from __future__ import annotations

import time

import grpc

from seedzoo.errors import Cancelled, RequestError, Unavailable
from seedzoo.records import SelectionReport
from seedzoo_client.convert import selection_error, selection_report
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.retry import Backoff
from seedzoo_client.settings import RetryConfig
from seedzoo_client.status import from_rpc_error, is_transient, trouble
from seedzoo_protos.v1 import selection_pb2

__all__ = ["CANCEL_SECONDS", "ENDS", "Sight", "final_report", "settled"]

CANCEL_SECONDS = 2.0
"""How long who wants to leave waits for the server to hear of it."""

_FINAL = frozenset(
    {
        selection_pb2.SELECTION_STATE_SUCCEEDED,
        selection_pb2.SELECTION_STATE_FAILED,
        selection_pb2.SELECTION_STATE_CANCELLED,
    }
)
ENDS = _FINAL | {selection_pb2.SELECTION_STATE_AWAITING_LABELS}
"""Where the server ends the stream."""
_STAGES = {
    selection_pb2.SELECTION_PHASE_QUEUED: Stage.QUEUED,
    selection_pb2.SELECTION_PHASE_LOADING: Stage.LOADING,
    selection_pb2.SELECTION_PHASE_EVALUATING: Stage.EVALUATING,
    selection_pb2.SELECTION_PHASE_CHOOSING: Stage.CHOOSING,
    selection_pb2.SELECTION_PHASE_DONE: Stage.DONE,
    selection_pb2.SELECTION_PHASE_LABELLING: Stage.DONE,
}
_LONG_SECONDS = 20.0


class Sight:
    """One selection, followed across broken streams.

    Args:
        selection_id: Which one.
        server: The server's address as people are told.
        retry: How long a broken stream is opened again.
        progress: Called with each report of the server.
    """

    def __init__(self, selection_id: str, *, server: str, retry: RetryConfig, progress: ProgressCallback) -> None:
        self.request = selection_pb2.WatchSelectionRequest(selection_id=selection_id)
        """For each stream."""
        self._server = server
        self._progress = progress
        self._backoff = Backoff(retry, progress=progress)
        self._latest: selection_pb2.Progress | None = None
        self._opened = time.monotonic()

    def opened(self) -> None:
        """A stream begins."""
        self._opened = time.monotonic()

    def seen(self, message: selection_pb2.WatchSelectionResponse) -> selection_pb2.Selection | None:
        """The selection where it has ended or awaits labels; None while it moves on."""
        if message.selection.state in ENDS:
            return message.selection
        if message.HasField("progress"):
            if message.progress != self._latest:
                self._backoff.progressed()
            self._latest = message.progress
            self._progress(_progress(message.progress))
        return None

    def lost(self, failure: grpc.RpcError | None) -> float:
        """A stream ended before the selection did: seconds to wait before the next one.

        Raises:
            ZooError: It failed for good, or for too long.
        """
        if failure is not None and not is_transient(failure):
            raise from_rpc_error(failure, server=self._server) from failure
        # Proxies cut long streams every minute or so; that is no sign of trouble.
        if time.monotonic() - self._opened > _LONG_SECONDS:
            self._backoff.progressed()
        seconds = self._backoff.delay(failure)
        if seconds is None:
            raise Unavailable(
                f"lost sight of the selection at {self._server}: {trouble(failure)}",
                hint="Run the same command again; the uploaded images are kept.",
            ) from failure
        return seconds


def settled(ended: selection_pb2.Selection, *, dataset: LocalDataset) -> selection_pb2.Selection:
    """The selection, where it has succeeded or awaits labels.

    Args:
        ended: As the server last told of it.
        dataset: The data it ran on, to name files in errors.

    Raises:
        Cancelled: Somebody cancelled it.
        ZooError: It failed.
    """
    if ended.state == selection_pb2.SELECTION_STATE_CANCELLED:
        raise Cancelled("the selection was cancelled", hint="Start it again; the uploaded images are kept.")
    if ended.state == selection_pb2.SELECTION_STATE_FAILED:
        raise selection_error(
            ended.error, where=dataset.name_faults({item.index: item.message for item in ended.error.items})
        )
    return ended


def final_report(ended: selection_pb2.Selection, *, progress: ProgressCallback) -> SelectionReport:
    """The report of a selection that is settled.

    Raises:
        RequestError: It awaits labels.
    """
    if ended.state == selection_pb2.SELECTION_STATE_AWAITING_LABELS:
        raise RequestError("the selection awaits labels", hint="Go on with `zoo label`.", field="selection_id")
    progress(Progress(Stage.DONE, ended.report.n_examples, ended.report.n_examples))
    return selection_report(ended.report)


def _progress(message: selection_pb2.Progress) -> Progress:
    return Progress(
        stage=_STAGES.get(message.phase, Stage.QUEUED),
        done=message.examples_seen,
        total=message.examples_total,
        variants_in_race=message.variants_in_race,
        leader=message.leader,
    )
