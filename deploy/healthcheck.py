"""Exit code 0 while the server of this container serves; asks without a token, which health never needs."""

from __future__ import annotations

import os
import ssl
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def main() -> int:
    """Ask once; whatever goes wrong ends in another exit code."""
    port = int(os.environ.get("SEEDZOO_SERVER_PORT") or 7316)
    if os.environ.get("SEEDZOO_SERVER_TLS_CERTIFICATE"):
        # The certificate is for a name that is not known here, and clients' certificates are not here either:
        # that the server shows one must do.
        ssl.get_server_certificate(("127.0.0.1", port), timeout=3)
        return 0
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
