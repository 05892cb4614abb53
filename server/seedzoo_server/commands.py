"""`zoo serve` and `zoo demo`."""

from __future__ import annotations

import asyncio
import signal
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from textwrap import wrap
from typing import Any

import click
import platformdirs
from PIL import Image
from pydantic import ValidationError

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.open import open_store
from seedzoo.catalog.publish import publish
from seedzoo.catalog.store import ObjectStore
from seedzoo.console import Console
from seedzoo.errors import RequestError, StoreError
from seedzoo.starter import starter_bundle
from seedzoo_server.app import ZooServer, check_address
from seedzoo_server.demo import run_demo
from seedzoo_server.embedded_s3 import EmbeddedS3
from seedzoo_server.logs import configure_logging
from seedzoo_server.settings import ServerSettings, is_loopback
from seedzoo_server.tls import tls_credentials

__all__ = ["demo", "serve"]

_LOOK_S = 1.0


def _settings_help() -> str:
    """Every setting, also those without a flag, as click prints it."""
    lines = ["Settings in the environment, which flags overrule:"]
    for name, field in ServerSettings.model_fields.items():
        default = "unset" if field.default in (None, "") else str(field.default).lower()
        lines.append(f"SEEDZOO_SERVER_{name.upper()}  [{default}]")
        lines += wrap(field.description or "", 74, initial_indent="    ", subsequent_indent="    ")
    return "\b\n" + "\n".join(lines)


@click.command(epilog=_settings_help())
@click.option("--store", help="s3://bucket/prefix or a directory.  [env: SEEDZOO_SERVER_STORE]")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1; env: SEEDZOO_SERVER_HOST]")
@click.option("--port", type=int, help="Port; 0 for any free one.  [default: 7316; env: SEEDZOO_SERVER_PORT]")
@click.option("--insecure", is_flag=True, default=None, help="Listen beyond this machine although nobody logs in.")
@click.option(
    "--auth", type=click.Choice(["none", "tokens"]), help="Who may call.  [default: none; env: SEEDZOO_SERVER_AUTH]"
)
@click.option("--tls-certificate", type=click.Path(path_type=Path), help="PEM file: certificate chain, for TLS.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM file: its private key.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="PEM file: authority of clients' certificates.")
@click.option(
    "--evaluate-on",
    type=click.Choice(["local", "ray"]),
    help="Where models run: here, or on the Ray cluster that RAY_ADDRESS names.  [default: local]",
)
@click.option("--metrics-port", type=int, help="Serve Prometheus metrics on this port.")
@click.option("--otel", is_flag=True, default=None, help="Send OpenTelemetry traces to where OTEL_* variables say.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Form of the log.  [default: text]")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least level logged.  [default: info]"
)
@click.option("--dev", is_flag=True, help="Start an S3 server of its own and publish the starter family there.")
@click.option("--dev-dir", type=click.Path(path_type=Path), help="Where --dev keeps its data.")
def serve(dev: bool, dev_dir: Path | None, **flags: Any) -> None:
    """Serve a store's families and choose variants for users' data. Ctrl-C stops it; nothing is lost."""
    console = Console.current()
    try:
        settings = ServerSettings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"setting {name}: {first['msg']}", hint="zoo serve --help lists the settings.") from error
    if dev == bool(settings.store):
        raise RequestError(
            "zoo serve needs a store, or --dev" if not dev else "--dev brings its own store; leave --store out",
            hint="zoo serve --store s3://bucket/prefix, or zoo serve --dev to try it out.",
            field="store",
        )
    configure_logging(settings.log_format, settings.log_level)
    check_address(settings)
    tls = tls_credentials(settings)
    if settings.auth == "tokens" and tls is None and not is_loopback(settings.host):
        console.warn("access tokens travel unencrypted: give --tls-certificate and --tls-key, or let a proxy do TLS")
    # Images that Pillow finds suspiciously large are refused by our own, lower limit.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    with ExitStack() as stack:
        alive: Callable[[], bool] = lambda: True  # noqa: E731
        if dev:
            folder = dev_dir or platformdirs.user_data_path("seedzoo") / "dev"
            console.note(f"starting an S3 server on {folder}")
            embedded = stack.enter_context(EmbeddedS3(folder))
            opened: ObjectStore = embedded.store()
            alive = lambda: embedded.pid is not None  # noqa: E731
            release, new = publish(opened, starter_bundle())
            console.note(f"{'published' if new else 'found'} {release.family}@{release.id}")
        else:
            opened = open_store(settings.store)
        stack.callback(opened.close)
        asyncio.run(_serve(opened, settings, console, alive))


async def _serve(store: ObjectStore, settings: ServerSettings, console: Console, alive: Callable[[], bool]) -> None:
    # Before anybody knows that the server is there: one that is told to stop at once must hand over too.
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stopping.set)
        except NotImplementedError:  # event loops of Windows know no signals
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopping.set))
    server = ZooServer(store, settings)
    port = await server.start()
    address = f"{settings.host}:{port}"
    console.result({"address": address, "store": store.url}, f"serving {store.url} on {address}")
    if not await asyncio.to_thread(Catalog(store).folder_names):
        console.warn(f"{store.url} has no families yet: zoo publish BUNDLE --store ...")
    console.hint(f"zoo select --data mydata/ --server {address}")
    while not stopping.is_set() and alive():
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _LOOK_S)
    died = not stopping.is_set()
    console.note("stopping; running calls get a moment, unfinished selections are taken up at the next start")
    await server.stop()
    if died:
        raise StoreError("the S3 server that --dev started has died", hint="Run the same command again; data are kept.")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Labelled images to select on.")
@click.option("--later", type=click.Path(path_type=Path), help="Labelled images that come later, to check the choice.")
def demo(data: Path | None, later: Path | None) -> None:
    """Run the whole path on this machine: S3 server, publish, serve, select, download, predict."""
    run_demo(Console.current(), data=data or Path("examples/mydata"), later=later or Path("examples/later"))
