"""Checks of one server, from its name to the families that it offers.

Nothing is changed anywhere: the calls only read, and most of them ask for things that do not exist.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from seedzoo.errors import LocalFailure, NotFound, Unauthenticated, Unavailable, ZooError
from seedzoo_client import probes
from seedzoo_client.channel import Address, open_channel
from seedzoo_client.settings import Settings, TLSConfig
from seedzoo_client.status import from_rpc_error
from seedzoo_protos.v1 import catalog_pb2, dataset_pb2, selection_pb2

__all__ = ["OF_SERVER", "Finding", "Skipped", "Visit"]

_SERVICES = tuple(
    service
    for module in (catalog_pb2, dataset_pb2, selection_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)
_READING = ("Get", "List", "Next")
"""How the names of calls begin that change nothing, whatever they are asked."""
_LIST_FAMILIES = "/seedzoo.v1.CatalogService/ListFamilies"
_GET_SELECTION = "/seedzoo.v1.SelectionService/GetSelection"
_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = 1
_ROUND_TRIPS = 5
_CLOCK_SECONDS = 300.0
_RENEW_DAYS = 14


class Skipped(Exception):
    """A check that cannot be made, and why."""


Finding = tuple[str, Mapping[str, Any]]
"""A sentence, and the same as data."""


class Visit:
    """Checks of one server; what one finds, later ones use."""

    def __init__(self, address: Address, settings: Settings, *, timeout: float) -> None:
        self._address = address
        self._settings = settings
        self._timeout = timeout
        self._encrypted = address.tls or settings.tls is not None
        self._proxy = None if address.target.startswith("unix:") else probes.proxy_of(address)
        self._places: list[tuple[str, int] | str] = []
        self._opened: Any = None
        self._days_left: float | None = None
        self._channel: grpc.Channel | None = None
        self._with_token: grpc.Channel | None = None

    def close(self) -> None:
        """Close what is open."""
        for opened in (self._opened, self._channel, self._with_token):
            if opened is not None:
                opened.close()

    def name(self) -> Finding:
        """Whether the server's name is known."""
        if self._address.target.startswith("unix:"):
            self._places = [probes.socket_path(self._address)]
            return f"the socket {self._places[0]}", {}
        self._no_proxy()
        found = probes.resolve(self._address)
        self._places = [*found]
        numbers = [number for number, _ in found]
        return f"{self._address.label} is {', '.join(numbers)}", {"addresses": numbers}

    def connection(self) -> Finding:
        """Whether anybody listens."""
        self._no_proxy()
        failed = []
        for place in self._places:
            shown = place if isinstance(place, str) else place[0]
            try:
                self._opened, seconds = probes.connect(place, timeout=self._timeout)
            except OSError as error:
                failed.append(f"{shown}: {error.strerror or error}")
                continue
            self._places = [place]
            but = f" (not {'; '.join(failed)})" if failed else ""
            return f"{shown} answers in {1000 * seconds:.1f} ms{but}", {"connected_to": shown, "seconds": seconds}
        raise Unavailable(
            f"nobody listens at {self._address.label}: {'; '.join(failed)}",
            hint="Start a server with `zoo serve --dev`, or correct --server; a firewall may be between.",
            reason="NOT_LISTENING",
        )

    def tls(self) -> Finding:
        """Whether the certificate is valid here."""
        if not self._encrypted:
            raise Skipped("the address asks for none")
        self._no_proxy()
        if isinstance(self._places[0], str):
            raise Skipped("not checked over a Unix socket")
        host, _ = probes.host_and_port(self._address)
        opened, self._opened = self._opened, None
        self._opened, shown = probes.handshake(opened, host=host, tls=self._settings.tls or TLSConfig())
        self._days_left = shown.days_left
        names = ", ".join(shown.names)
        return (
            f"{shown.protocol}; certificate for {names}, valid for {shown.days_left:.0f} more days",
            {"names": shown.names, "days_left": shown.days_left, "protocol": shown.protocol},
        )

    def renewal(self) -> Finding:
        """Whether the certificate stays valid for a while; until it ends everything works."""
        if self._days_left is None:
            raise Skipped("no certificate was seen")
        if self._days_left < _RENEW_DAYS:
            raise Unavailable(
                f"the server's certificate expires in {self._days_left:.1f} days",
                hint="Whoever runs the server should renew it now.",
                reason="CERTIFICATE_EXPIRES",
            )
        return f"the certificate need not be renewed for {self._days_left - _RENEW_DAYS:.0f} days", {}

    def http2(self) -> Finding:
        """Whether it can be a gRPC server at all."""
        self._no_proxy()
        if probes.speaks_http2(self._opened):
            self._opened.close()
            return "it speaks HTTP/2, as gRPC does", {}
        place = self._places[0]
        if not self._encrypted and not isinstance(place, str) and probes.speaks_tls(place, timeout=self._timeout):
            raise Unavailable(
                f"the server at {self._address.label} speaks TLS, and the address does not ask for it",
                hint=f"Use --server https://{self._address.label}",
                reason="TLS_WANTED",
            )
        raise Unavailable(
            f"what answers at {self._address.label} is no gRPC server: it does not speak HTTP/2",
            hint="Check the port; a proxy in front of the server must pass HTTP/2 on.",
            reason="NOT_GRPC",
        )

    def health(self) -> Finding:
        """What the server says of itself and of each service."""
        told: dict[str, str] = {}
        for service in ("", *(service.full_name for service in _SERVICES)):
            call = self._plain().unary_unary(
                _HEALTH,
                # HealthCheckRequest and HealthCheckResponse look the same on the wire; the light client has neither.
                request_serializer=StringValue.SerializeToString,
                response_deserializer=Int32Value.FromString,
            )
            try:
                answer = call(StringValue(value=service), timeout=self._timeout)
                told[service or "server"] = "serving" if answer.value == _SERVING else "not serving"
            except grpc.RpcError as error:
                code = _code(error)
                if code is grpc.StatusCode.UNIMPLEMENTED:
                    raise Skipped("the server, or a proxy before it, has no health service") from None
                if code is not grpc.StatusCode.NOT_FOUND:
                    raise self._told(error) from error
                told[service or "server"] = "unknown"
        bad = [name for name, status in told.items() if status != "serving"]
        if bad:
            raise Unavailable(
                "the server says: " + ", ".join(f"{name} {told[name]}" for name in bad),
                hint="Its store cannot be reached, it is shutting down, or it is no seedzoo server: see its log.",
                reason="NOT_SERVING",
            )
        return f"the server and its {len(_SERVICES)} services are serving", told

    def api(self) -> Finding:
        """Whether the server has all the calls of this client that only read."""
        asked, missing = 0, []
        for service in _SERVICES:
            for method in service.methods:
                if method.server_streaming or method.client_streaming or not method.name.startswith(_READING):
                    continue
                asked += 1
                error = self._ask(self._plain(), f"/{service.full_name}/{method.name}")
                code = _code(error)
                if code is grpc.StatusCode.UNIMPLEMENTED:
                    missing.append(f"{service.name}/{method.name}")
                elif error is not None and code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise self._told(error)
        if len(missing) == asked:
            raise Unavailable(
                f"{self._address.label} is a gRPC server, but no seedzoo server",
                hint="Check the port in --server.",
                reason="NOT_SEEDZOO",
            )
        if missing:
            raise Unavailable(
                f"the server is older than this client: it lacks {', '.join(missing)}",
                hint="Have the server updated, or use a client of its version.",
                reason="SERVER_OLDER",
            )
        return f"seedzoo.v1 with all {asked} calls that this client can ask without changing anything", {"calls": asked}

    def token(self) -> Finding:
        """Whether a token is needed and what ours may do."""
        nobody = self._ask(self._plain(), _LIST_FAMILIES)
        wanted = _code(nobody) is grpc.StatusCode.UNAUTHENTICATED
        if nobody is not None and not wanted:
            raise self._told(nobody)
        token = self._settings.token
        if not token:
            if not wanted:
                return "the server asks for no token", {"wanted": False}
            raise Unauthenticated(
                "the server wants an access token, and none is set",
                hint="Set SEEDZOO_TOKEN, or token in config.toml; its operator has `zoo token create`.",
            )
        self._with_token = open_channel(self._address, tls=self._settings.tls, token=token)
        if not wanted:
            return "the server asks for no token and does not look at the one that is set", {"wanted": False}
        for method, may in ((_LIST_FAMILIES, ""), (_GET_SELECTION, "browse and download")):
            error = self._ask(self._with_token, method)
            code = _code(error)
            if code is grpc.StatusCode.PERMISSION_DENIED and may:
                return f"accepted; it may {may}, not select", {"wanted": True, "may": ["browse", "download"]}
            if error is not None and code not in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
                raise self._told(error)
        return "accepted; it may browse, download and select", {"wanted": True, "may": ["browse", "download", "select"]}

    def clock(self) -> Finding:
        """How far this machine's clock and the server's are apart."""
        before = time.time()
        call: Any = self._plain().unary_unary(_LIST_FAMILIES)
        answered: Any
        try:
            _, answered = call.with_call(b"", timeout=self._timeout)
        except grpc.RpcError as error:
            answered = error
        metadata = [*(answered.initial_metadata() or ()), *(answered.trailing_metadata() or ())]
        dates = [str(value) for key, value in metadata if key == "date"]
        after = time.time()
        try:
            told = parsedate_to_datetime(dates[0])
        except (IndexError, ValueError):
            raise Skipped("the answers carry no date; a proxy before the server would add one") from None
        if told.tzinfo is None:
            told = told.replace(tzinfo=UTC)
        # The date has whole seconds: the truth is up to one second later.
        difference = told.timestamp() + 0.5 - (before + after) / 2
        if abs(difference) > _CLOCK_SECONDS:
            here = datetime.now(UTC).isoformat(timespec="seconds")
            raise LocalFailure(
                f"the server's clock and this machine's ({here}) are {abs(difference):.0f} s apart",
                hint="Set the wrong one: certificates and tokens are valid for a time only.",
                reason="CLOCK",
            )
        return f"{abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} this machine's", {
            "difference_seconds": difference
        }

    def round_trip(self) -> Finding:
        """Median time of a small call."""
        times = []
        for _ in range(_ROUND_TRIPS):
            started = time.perf_counter()
            error = self._ask(self._plain(), _HEALTH)
            times.append(time.perf_counter() - started)
            if _code(error) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                assert error is not None
                raise self._told(error)
        median = statistics.median(times)
        return f"{1000 * median:.1f} ms (median of {len(times)})", {"median_seconds": median}

    def families(self) -> Finding:
        """What is offered."""
        call = (self._with_token or self._plain()).unary_unary(
            _LIST_FAMILIES,
            request_serializer=catalog_pb2.ListFamiliesRequest.SerializeToString,
            response_deserializer=catalog_pb2.ListFamiliesResponse.FromString,
        )
        try:
            answer = call(catalog_pb2.ListFamiliesRequest(), timeout=self._timeout)
        except grpc.RpcError as error:
            if _code(error) in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                raise Skipped("pointless without token") from None
            raise self._told(error) from error
        names = [family.name for family in answer.families]
        browse_only = [family.name for family in answer.families if family.browse_only]
        if not names:
            raise NotFound(
                "the server offers no families",
                hint="Its operator publishes one with `zoo publish --starter --store …`.",
                reason="NO_FAMILIES",
            )
        told = ", ".join(f"{name} (browse only)" if name in browse_only else name for name in names)
        more = " and more" if answer.next_page_token else ""
        return f"{told}{more}", {"families": names, "browse_only": browse_only}

    def _plain(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = open_channel(self._address, tls=self._settings.tls, token=None)
        return self._channel

    def _ask(self, channel: grpc.Channel, method: str) -> grpc.RpcError | None:
        """Send an empty request; the error it comes to."""
        call: Any = channel.unary_unary(method)
        try:
            call(b"", timeout=self._timeout)
        except grpc.RpcError as error:
            return error
        return None

    def _told(self, error: grpc.RpcError) -> ZooError:
        return from_rpc_error(error, server=self._address.label)

    def _no_proxy(self) -> None:
        if self._proxy is not None:
            raise Skipped(f"gRPC goes through the proxy {self._proxy} (https_proxy, http_proxy, no_proxy)")


def _code(error: grpc.RpcError | None) -> grpc.StatusCode | None:
    return error.code() if isinstance(error, grpc.Call) else None


OF_SERVER: tuple[tuple[str, Callable[[Visit], Finding], bool], ...] = (
    ("name", Visit.name, True),
    ("connection", Visit.connection, True),
    ("tls", Visit.tls, True),
    ("renewal", Visit.renewal, False),
    ("http2", Visit.http2, True),
    ("health", Visit.health, False),
    ("api", Visit.api, True),
    ("token", Visit.token, False),
    ("clock", Visit.clock, False),
    ("round trip", Visit.round_trip, False),
    ("families", Visit.families, False),
)
"""Checks of the server, in order, and whether those after it need it."""
