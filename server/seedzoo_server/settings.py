"""Settings of the server: flags > environment (``SEEDZOO_SERVER_*``) > defaults."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from seedzoo.inference.decode import DEFAULT_MAX_PIXELS
from seedzoo.inference.settings import InferenceSettings, Provider

__all__ = ["DEFAULT_PORT", "ServerSettings", "is_loopback"]

DEFAULT_PORT = 7316


class ServerSettings(BaseSettings):
    """Everything that can be set; each field's description is what `zoo serve --help` and the docs say."""

    model_config = SettingsConfigDict(env_prefix="SEEDZOO_SERVER_", extra="ignore")

    store: Annotated[str, Field(description="s3://bucket/prefix, a directory, or memory://")] = ""
    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 for any free one")] = DEFAULT_PORT
    insecure: Annotated[bool, Field(description="listen beyond this machine although nobody is authenticated")] = False
    auth: Annotated[
        Literal["none", "tokens"], Field(description="who may call: anybody, or whoever has an access token")
    ] = "none"
    tls_certificate: Annotated[Path | None, Field(description="PEM file with the certificate chain; for TLS")] = None
    tls_key: Annotated[Path | None, Field(description="PEM file with its private key")] = None
    tls_client_ca: Annotated[
        Path | None, Field(description="PEM file with the authority whose certificates clients must show (mutual TLS)")
    ] = None
    concurrent_selections: Annotated[int, Field(ge=1, description="selections evaluated at the same time")] = 1
    metrics_port: Annotated[
        int | None, Field(ge=0, le=65535, description="port of Prometheus metrics over HTTP; none where unset")
    ] = None
    otel: Annotated[
        bool, Field(description="send OpenTelemetry traces to where the OTEL_* variables say; needs seedzoo[otel]")
    ] = False
    log_format: Annotated[Literal["text", "json"], Field(description="form of the log lines on stderr")] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="least level that is logged")
    ] = "info"
    max_connections: Annotated[
        int, Field(ge=1, description="most connections open at the same time; further ones are closed at once")
    ] = 4096
    max_queue: Annotated[int, Field(ge=1, description="most selections that wait on this server")] = 1000
    stuck_s: Annotated[
        float, Field(gt=0, description="seconds without a sign of life of its own after which a selection fails")
    ] = 1800.0
    lease_s: Annotated[
        float, Field(ge=0.2, description="seconds without a sign of life after which another server takes over")
    ] = 15.0
    max_item_bytes: Annotated[int, Field(ge=1, description="largest example in bytes")] = 32 << 20
    max_dataset_items: Annotated[int, Field(ge=1, description="most examples in a dataset")] = 1_000_000
    dataset_days: Annotated[
        int, Field(ge=0, description="days until a dataset expires that nobody uses; 0 for never")
    ] = 7
    tenant_max_bytes: Annotated[
        int, Field(ge=0, description="most bytes of a tenant without quota of its own; 0 for no limit")
    ] = 100 << 30
    tenant_max_datasets: Annotated[int, Field(ge=0, description="most datasets of such a tenant; 0 for no limit")] = (
        1_000
    )
    tenant_max_items: Annotated[int, Field(ge=0, description="most items of such a tenant; 0 for no limit")] = (
        10_000_000
    )
    tenant_calls_per_s: Annotated[
        float,
        Field(ge=0, description="calls of a tenant a second, on average of ten seconds; 0 for no limit; with tokens"),
    ] = 500.0
    max_pixels: Annotated[int, Field(ge=1, description="largest image in pixels")] = DEFAULT_MAX_PIXELS
    decoder_processes: Annotated[
        int | None,
        Field(ge=0, description="processes that decode images; one per core where unset, 0 for the server's threads"),
    ] = None
    decoder_image_s: Annotated[
        float, Field(gt=0, description="seconds of CPU that decoding one image may take in such a process")
    ] = 20.0
    catalog_look_s: Annotated[
        float, Field(ge=0, description="seconds until a newly published release is noticed; 0 to look at each call")
    ] = 1.0
    catalog_cache_mib: Annotated[
        int, Field(ge=1, description="MiB of memory for answers about the releases asked about last")
    ] = 128
    evaluate_on: Annotated[
        Literal["local", "ray"],
        Field(description="where models run: here, or on the Ray cluster of RAY_ADDRESS (one of its own where unset)"),
    ] = "local"
    provider: Annotated[
        Provider,
        Field(description="hardware that runs models: CUDA where it is active (auto), cpu, or cuda, an error without"),
    ] = "auto"
    model_memory_bytes: Annotated[
        int | None,
        Field(ge=1, description="bytes that open models may take; half of the memory that may be used where unset"),
    ] = None
    calibration_folder: Annotated[
        Path | None,
        Field(description="cache of this machine that keeps measured batch sizes over restarts; none where unset"),
    ] = None
    url_expires_s: Annotated[int, Field(ge=1, description="life of a presigned download URL in seconds")] = 900
    shutdown_grace_s: Annotated[float, Field(ge=0, description="seconds that running calls get at shutdown")] = 5.0

    def inference(self) -> InferenceSettings:
        """How one of the selections that are evaluated at the same time runs its models."""
        whole = InferenceSettings(
            provider=self.provider, memory_bytes=self.model_memory_bytes, cache_folder=self.calibration_folder
        )
        return replace(whole, memory_bytes=max(1, whole.budget() // self.concurrent_selections))


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
