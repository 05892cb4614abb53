"""Wiring: from settings to a running server."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.open import require_conditional_writes
from seedzoo.catalog.store import ObjectStore
from seedzoo.errors import LocalFailure, RequestError, Unauthenticated, ZooError
from seedzoo.inference import providers
from seedzoo_protos.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    selection_pb2,
    selection_pb2_grpc,
)
from seedzoo_server.border import Border
from seedzoo_server.catalog_service import CatalogServicer
from seedzoo_server.connections import connection_options, room_for
from seedzoo_server.dataset_service import DatasetServicer
from seedzoo_server.decoders import decoder_of
from seedzoo_server.evaluators import Evaluators
from seedzoo_server.identity import Identity
from seedzoo_server.labelling_service import Labelling
from seedzoo_server.metrics import Metrics, serve_metrics
from seedzoo_server.quotas import Quota
from seedzoo_server.rates import CallRates
from seedzoo_server.runner import Runner
from seedzoo_server.selection_service import SelectionServicer
from seedzoo_server.settings import ServerSettings, is_loopback
from seedzoo_server.sweeper import Sweeper, keep_sweeping
from seedzoo_server.tenants import Tenants
from seedzoo_server.tls import tls_credentials
from seedzoo_server.tokens import Tokens
from seedzoo_server.tracing import open_tracing

__all__ = ["ZooServer", "check_address"]

_log = logging.getLogger(__name__)

_STORE_LOOK_S = 5.0

_OPTIONS = [
    # Two servers must not share a port unnoticed, each seeing half of the calls.
    ("grpc.so_reuseport", 0),
    # Uploads come in messages of at most 1 MiB; this leaves room for their envelope.
    ("grpc.max_receive_message_length", 4 << 20),
    # A profile of 100 variants under 1,000 conditions takes about 1 MB.
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A client may keep this many calls open on a connection, and none without a sign of life.
    # What a call may send ahead of its being read, of which one connection may have many: probing for bandwidth would
    # let each grow to several MiB. With a round trip of .1 s a call still uploads 10 MB/s.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]
_SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (catalog_pb2, "CatalogService"),
        (dataset_pb2, "DatasetService"),
        (selection_pb2, "SelectionService"),
    )
)


class ZooServer:
    """A server over one store. Make it and use it inside one event loop.

    Args:
        store: Catalog and users' data.
        settings: See there.
    """

    def __init__(self, store: ObjectStore, settings: ServerSettings) -> None:
        self._store = store
        self._settings = settings
        catalog = Catalog(store, look_s=settings.catalog_look_s)
        tenants = Tenants(
            store,
            max_items=settings.max_dataset_items,
            max_item_bytes=settings.max_item_bytes,
            default_quota=Quota(
                max_bytes=settings.tenant_max_bytes,
                max_datasets=settings.tenant_max_datasets,
                max_items=settings.tenant_max_items,
            ),
        )
        self._sweeper = Sweeper(tenants, store, dataset_days=settings.dataset_days)
        self._metrics = Metrics()
        self._evaluators = Evaluators(settings)
        providers.wanted(settings.provider)  # fails now rather than at the first selection
        self._decoder = decoder_of(settings, self._metrics)
        labelling = Labelling(
            catalog=catalog,
            max_pixels=settings.max_pixels,
            decoder=self._decoder,
            open_evaluator=self._evaluators.open_evaluator,
            inference=settings.inference(),
        )
        self._tracing = open_tracing(otel=settings.otel)
        self._runner = Runner(
            catalog=catalog,
            tenants=tenants,
            labelling=labelling,
            settings=settings,
            metrics=self._metrics,
            decoder=self._decoder,
            open_evaluator=self._evaluators.open_evaluator,
            tracing=self._tracing,
        )
        identify = _token_required(Tokens(store)) if settings.auth == "tokens" else None
        # Where nobody is told apart, a limit would let one caller shut out all others.
        rates = CallRates(settings.tenant_calls_per_s if settings.auth == "tokens" else 0)
        border = Border(identify, self._metrics, rates, self._tracing)
        options = [*_OPTIONS, *connection_options(room_for(settings.max_connections))]
        self._server = grpc.aio.server(interceptors=[border], options=options)
        self._browsing = CatalogServicer(
            catalog, url_expires_s=settings.url_expires_s, cache_bytes=settings.catalog_cache_mib << 20
        )
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(self._browsing, self._server)
        dataset_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetServicer(tenants, self._runner), self._server)
        selection_pb2_grpc.add_SelectionServiceServicer_to_server(
            SelectionServicer(catalog, tenants, self._runner, labelling), self._server
        )
        self._watch: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._stop_metrics: Callable[[], None] = lambda: None
        self.metrics_port: int | None = None
        """Where metrics are served, once the server has started."""
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self) -> int:
        """Check the store, listen, take up unfinished selections; return the port.

        Raises:
            RequestError: The address is beyond this machine and nobody is authenticated.
            LocalFailure: The port is taken.
            StoreError: The store fails or ignores conditional writes.
        """
        try:
            return await self._start()
        except BaseException:
            await self._server.stop(0)  # or its clean-up would fail after the loop has ended
            raise

    async def _start(self) -> int:
        host, port = self._settings.host, self._settings.port
        check_address(self._settings)
        await asyncio.to_thread(require_conditional_writes, self._store)
        await self._evaluators.connect()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = tls_credentials(self._settings)
        try:
            bound = (
                self._server.add_insecure_port(address)
                if credentials is None
                else self._server.add_secure_port(address, credentials)
            )
        except RuntimeError as error:
            raise _port_taken(host, port) from error
        if self._settings.metrics_port is not None:
            self.metrics_port, self._stop_metrics = serve_metrics(self._metrics, host, self._settings.metrics_port)
        await self._server.start()
        await self._runner.start()
        await self._report_health(serving=True)
        self._watch = asyncio.create_task(self._watch_store())
        self._sweeping = asyncio.create_task(keep_sweeping(self._sweeper))
        return bound

    async def _watch_store(self) -> None:
        """Say NOT_SERVING while the store cannot be reached."""
        serving = True
        while True:
            await asyncio.sleep(_STORE_LOOK_S)
            try:
                await asyncio.to_thread(self._store.exists, "probes/health")
            except ZooError as error:
                reachable = False
                self._metrics.store_failed()
                if serving:
                    _log.error("the store cannot be reached: %s", error.message)
            else:
                reachable = True
            if reachable != serving:
                serving = reachable
                await self._report_health(serving=serving)

    async def _report_health(self, *, serving: bool) -> None:
        self._metrics.serving(reachable=serving)
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *_SERVICES):
            await self._health.set(service, status)

    async def stop(self) -> None:
        """Let running calls finish for a while; unfinished selections are taken up at the next start."""
        self._sweeper.stop()
        for task in (self._watch, self._sweeping):
            if task is not None:
                task.cancel()
        await self._health.enter_graceful_shutdown()
        await self._runner.close()
        await asyncio.to_thread(self._decoder.close)
        await asyncio.to_thread(self._evaluators.close)
        await self._server.stop(self._settings.shutdown_grace_s)
        await asyncio.to_thread(self._browsing.close)
        await asyncio.to_thread(self._stop_metrics)
        await asyncio.to_thread(self._tracing.close)


def _token_required(tokens: Tokens) -> Callable[[str | None], Identity]:
    def identify(token: str | None) -> Identity:
        if token is None:
            raise Unauthenticated(
                "this server wants an access token", hint="Set SEEDZOO_TOKEN, or token in config.toml."
            )
        return tokens.identity(token)

    return identify


def check_address(settings: ServerSettings) -> None:
    """Refuse an address that is unsafe or taken, before anything else is started.

    Raises:
        RequestError: It is beyond this machine and nobody is authenticated.
        LocalFailure: The port is taken, or the address is not this machine's.
    """
    host, port = settings.host, settings.port
    if not is_loopback(host) and settings.auth == "none" and not settings.insecure:
        raise RequestError(
            f"refusing to listen on {host}: anybody who reaches it could read and delete all datasets",
            hint="Say --auth tokens (zoo token create makes them), or --insecure in a trusted network.",
            reason="INSECURE_ADDRESS",
            field="host",
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found[:1]:
            with socket.socket(family, kind, protocol) as probe:
                # As the server itself does: a port whose last connections are still fading away is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise _port_taken(host, port) from error


def _port_taken(host: str, port: int) -> LocalFailure:
    return LocalFailure(
        f"cannot listen on {host}:{port}: the port is taken or the address is not this machine's",
        hint="Stop the other server, or choose another port with --port.",
        reason="PORT_TAKEN",
    )
