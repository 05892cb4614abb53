"""Follow a selection to its end, or to where it awaits labels, across broken streams."""

from __future__ import annotations

import time
from contextlib import suppress

import grpc

from seedzoo.errors import Cancelled, RequestError, Unavailable
from seedzoo.records import SelectionReport
from seedzoo_client.convert import selection_error, selection_report
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.progress import Progress, ProgressCallback, Stage
from seedzoo_client.retry import Backoff
from seedzoo_client.settings import RetryConfig
from seedzoo_client.status import from_rpc_error, is_transient, trouble
from seedzoo_protos.v1 import selection_pb2, selection_pb2_grpc

__all__ = ["Watcher"]

_FINAL = frozenset(
    {
        selection_pb2.SELECTION_STATE_SUCCEEDED,
        selection_pb2.SELECTION_STATE_FAILED,
        selection_pb2.SELECTION_STATE_CANCELLED,
    }
)
_ENDS = _FINAL | {selection_pb2.SELECTION_STATE_AWAITING_LABELS}
"""Where the server ends the stream."""
_STAGES = {
    selection_pb2.SELECTION_PHASE_QUEUED: Stage.QUEUED,
    selection_pb2.SELECTION_PHASE_LOADING: Stage.LOADING,
    selection_pb2.SELECTION_PHASE_EVALUATING: Stage.EVALUATING,
    selection_pb2.SELECTION_PHASE_CHOOSING: Stage.CHOOSING,
    selection_pb2.SELECTION_PHASE_DONE: Stage.DONE,
    selection_pb2.SELECTION_PHASE_LABELLING: Stage.DONE,
}
_CANCEL_SECONDS = 2.0
_LONG_SECONDS = 20.0


class Watcher:
    """Waits for selections.

    Args:
        channel: Channel to the server.
        server: The server's address as people are told.
        retry: How long a broken stream is opened again.
    """

    def __init__(self, channel: grpc.Channel, *, server: str, retry: RetryConfig) -> None:
        self._stub = selection_pb2_grpc.SelectionServiceStub(channel)
        self._server = server
        self._retry = retry

    def report(
        self, started: selection_pb2.Selection, *, dataset: LocalDataset, progress: ProgressCallback
    ) -> SelectionReport:
        """Wait until the selection ends.

        Args:
            started: The selection as it was when it started.
            dataset: The data it runs on, to name files in errors.
            progress: Called with each report of the server.

        Raises:
            Cancelled: Somebody cancelled it.
            ZooError: It failed, or the server cannot be reached for too long.
        """
        ended = self.settled(started, dataset=dataset, progress=progress)
        if ended.state == selection_pb2.SELECTION_STATE_AWAITING_LABELS:
            raise RequestError("the selection awaits labels", hint="Go on with `zoo label`.", field="selection_id")
        progress(Progress(Stage.DONE, ended.report.n_examples, ended.report.n_examples))
        return selection_report(ended.report)

    def settled(
        self, started: selection_pb2.Selection, *, dataset: LocalDataset, progress: ProgressCallback
    ) -> selection_pb2.Selection:
        """Wait until the selection has succeeded or awaits labels; arguments and errors as for :meth:`report`."""
        ended = started if started.state in _ENDS else self._follow(started.id, progress)
        if ended.state == selection_pb2.SELECTION_STATE_CANCELLED:
            raise Cancelled("the selection was cancelled", hint="Start it again; the uploaded images are kept.")
        if ended.state == selection_pb2.SELECTION_STATE_FAILED:
            raise selection_error(
                ended.error, where=dataset.name_faults({item.index: item.message for item in ended.error.items})
            )
        return ended

    def _follow(self, selection_id: str, progress: ProgressCallback) -> selection_pb2.Selection:
        backoff = Backoff(self._retry, progress=progress)
        latest: selection_pb2.Progress | None = None
        while True:
            failure: grpc.RpcError | None = None
            opened = time.monotonic()
            try:
                request = selection_pb2.WatchSelectionRequest(selection_id=selection_id)
                for message in self._stub.WatchSelection(request):
                    if message.selection.state in _ENDS:
                        return message.selection
                    if message.HasField("progress"):
                        if message.progress != latest:
                            backoff.progressed()
                        latest = message.progress
                        progress(_progress(latest))
            except grpc.RpcError as error:
                if not is_transient(error):
                    raise from_rpc_error(error, server=self._server) from error
                failure = error
            # Proxies cut long streams every minute or so; that is no sign of trouble.
            if time.monotonic() - opened > _LONG_SECONDS:
                backoff.progressed()
            if not backoff.pause(trouble(failure)):
                raise Unavailable(
                    f"lost sight of the selection at {self._server}: {trouble(failure)}",
                    hint="Run the same command again; the uploaded images are kept.",
                ) from failure

    def cancel(self, selection_id: str) -> None:
        """Cancel a selection, best effort: who wants to leave is not held up by an unreachable server."""
        with suppress(grpc.RpcError):
            self._stub.CancelSelection(
                selection_pb2.CancelSelectionRequest(selection_id=selection_id), timeout=_CANCEL_SECONDS
            )


def _progress(message: selection_pb2.Progress) -> Progress:
    return Progress(
        stage=_STAGES.get(message.phase, Stage.QUEUED),
        done=message.examples_seen,
        total=message.examples_total,
        variants_in_race=message.variants_in_race,
        leader=message.leader,
    )
