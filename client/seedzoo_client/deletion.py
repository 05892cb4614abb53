"""A deletion that may be repeated: what is gone after an attempt that broke off was deleted by it."""

from __future__ import annotations

from dataclasses import replace

import grpc

from seedzoo.errors import NotFound
from seedzoo_client.arguments import as_text
from seedzoo_client.progress import ignore
from seedzoo_client.retry import Backoff
from seedzoo_client.settings import RetryConfig
from seedzoo_client.status import from_rpc_error, is_transient
from seedzoo_protos.v1 import dataset_pb2

__all__ = ["Deletion"]

_SECONDS = 5.0
"""It may be the first call to a server: who names a wrong one should hear so soon."""


class Deletion:
    """One dataset's.

    Args:
        dataset_id: Which one.
        server: The server's address as people are told.
        retry: How long a connection that broke is taken up again; here, not longer than a few seconds.

    Raises:
        RequestError: No dataset has such an id.
    """

    def __init__(self, dataset_id: str, *, server: str, retry: RetryConfig) -> None:
        self.request = dataset_pb2.DeleteDatasetRequest(dataset_id=as_text(dataset_id, field="dataset_id"))
        """For each attempt."""
        self._server = server
        self._backoff = Backoff(replace(retry, total_seconds=min(retry.total_seconds, _SECONDS)), progress=ignore)
        self._broke = False

    def failed(self, failure: grpc.RpcError) -> float | None:
        """An attempt failed: seconds to wait before the next one; None where the dataset is gone.

        Raises:
            ZooError: It failed for good, or for too long.
        """
        error = from_rpc_error(failure, server=self._server)
        if self._broke and isinstance(error, NotFound):
            return None
        seconds = self._backoff.delay(failure) if is_transient(failure) else None
        if seconds is None:
            raise error from failure
        self._broke = True
        return seconds
