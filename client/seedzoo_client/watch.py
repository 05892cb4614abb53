"""Follow a selection to its end, or to where it awaits labels, across broken streams."""

from __future__ import annotations

import time
from contextlib import suppress

import grpc

from seedzoo.records import SelectionReport
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.progress import ProgressCallback
from seedzoo_client.settings import RetryConfig
from seedzoo_client.sight import CANCEL_SECONDS, ENDS, Sight, final_report, settled
from seedzoo_protos.v1 import selection_pb2, selection_pb2_grpc

__all__ = ["Watcher"]


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
        return final_report(self.settled(started, dataset=dataset, progress=progress), progress=progress)

    def settled(
        self, started: selection_pb2.Selection, *, dataset: LocalDataset, progress: ProgressCallback
    ) -> selection_pb2.Selection:
        """Wait until the selection has succeeded or awaits labels; arguments and errors as for :meth:`report`."""
        return settled(started if started.state in ENDS else self._follow(started.id, progress), dataset=dataset)

    def _follow(self, selection_id: str, progress: ProgressCallback) -> selection_pb2.Selection:
        sight = Sight(selection_id, server=self._server, retry=self._retry, progress=progress)
        while True:
            failure: grpc.RpcError | None = None
            sight.opened()
            try:
                for message in self._stub.WatchSelection(sight.request):
                    if (ended := sight.seen(message)) is not None:
                        return ended
            except grpc.RpcError as error:
                failure = error
            time.sleep(sight.lost(failure))

    def cancel(self, selection_id: str) -> None:
        """Cancel a selection, best effort: who wants to leave is not held up by an unreachable server."""
        with suppress(grpc.RpcError):
            self._stub.CancelSelection(
                selection_pb2.CancelSelectionRequest(selection_id=selection_id), timeout=CANCEL_SECONDS
            )
