"""What both clients are made with: settings, address, patience; and what they must know of an upload."""

from __future__ import annotations

import os

from seedzoo.errors import RequestError, Unavailable
from seedzoo_client.arguments import as_number, check_names
from seedzoo_client.cache import ModelCache
from seedzoo_client.channel import parse_address
from seedzoo_client.quoting import quoted
from seedzoo_client.settings import RetryConfig, TLSConfig, load_settings

__all__ = ["ClientBase", "check_names"]


class ClientBase:
    """The common part of :class:`seedzoo_client.Client` and :class:`seedzoo_client.AsyncClient`.

    Args:
        target: ``host:port``, ``https://host:port`` or ``unix:/path``; None for the environment's, the configuration
            file's or ``localhost:7316``.
        tls: True or a :class:`TLSConfig` for an encrypted connection.
        token: Access token.
        timeout: Seconds that one answer may take; uploads, downloads and selections last as long as they move on.
        home: Folder of the model cache.
        offline: Connect to nothing; ``download`` answers from the cache.
        retry: How long a connection that broke is taken up again.

    Raises:
        RequestError: An argument or a setting cannot be used.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        tls: TLSConfig | bool | None = None,
        token: str | None = None,
        timeout: float = 60.0,
        home: str | os.PathLike[str] | None = None,
        offline: bool | None = None,
        retry: RetryConfig | None = None,
    ) -> None:
        timeout = as_number(timeout, field="timeout")
        for name, text in (("target", target), ("token", token)):
            if text is not None and not isinstance(text, str):
                raise RequestError(f"{name} must be text, not {quoted(text)}", field=name)
        if not timeout > 0:
            raise RequestError(f"timeout must be more than 0 seconds, not {timeout}", field="timeout")
        self.settings = load_settings(server=target, token=token, home=home, offline=offline, tls=tls)
        self._address = parse_address(self.settings.server)
        self._timeout = timeout
        self._retry = retry or RetryConfig()
        self._cache = ModelCache(self.settings.home)
        self._dataset_id: str | None = None

    @property
    def server(self) -> str:
        """The server's address as people write it."""
        return self._address.label

    @property
    def last_dataset_id(self) -> str | None:
        """The dataset on the server that the latest ``upload`` or ``select`` made or found.

        Known before its images are sent, so that ``delete_dataset`` can remove them after a call that failed or was
        stopped; None where the server holds nothing of it.
        """
        return self._dataset_id

    def _created(self, dataset_id: str) -> None:
        self._dataset_id = dataset_id

    def _refuse_offline(self) -> None:
        """Raise Unavailable where nothing may be connected to."""
        if self.settings.offline:
            raise Unavailable(
                "offline mode is on, and this needs a server", hint="Unset SEEDZOO_OFFLINE.", reason="OFFLINE"
            )
