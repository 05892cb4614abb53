"""How many connections a server keeps open, and for how long: what bounds those who open them and say nothing."""

from __future__ import annotations

import logging
from importlib.util import find_spec

__all__ = ["connection_options", "room_for"]

_log = logging.getLogger(__name__)

_HANDSHAKE_MS = 20_000
_IDLE_MS = 600_000
_OWN_FILES = 256
"""What the server itself opens: the store, models, decoding processes, logs."""


def room_for(connections: int) -> int:
    """So many connections, or as many as this process may have files open, whose soft limit is raised for them.

    Args:
        connections: How many are wanted.
    """
    if find_spec("resource") is None:  # Windows has no such limit
        return connections
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            connections = max(1, soft - min(_OWN_FILES, soft // 2))
            _log.warning(
                "this process may have %d files open (ulimit -n), so the server takes %d connections", soft, connections
            )
    return connections


def connection_options(most: int) -> list[tuple[str, int]]:
    """GRPC's options that bound connections.

    Args:
        most: How many may be open at the same time; further ones are closed at once. All that are open count, also
            those that have not said who they are.
    """
    return [
        ("grpc.max_allowed_incoming_connections", most),
        # From the first byte to HTTP/2's settings, TLS in between.
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        # Without a call; a client that comes back connects again by itself.
        ("grpc.max_connection_idle_ms", _IDLE_MS),
    ]
