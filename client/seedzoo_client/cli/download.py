"""`zoo download`: a variant's ONNX file."""

from __future__ import annotations

import shlex

import click

from seedzoo.console import Console, Rows, plain
from seedzoo_client.cache import file_sha256
from seedzoo_client.cli.options import in_store, open_zoo, progress_bar, server_option, store_option

__all__ = ["download"]


@click.command()
@click.argument("variant")
@click.option("--to", metavar="FILE|DIR/", help="Where to put it; only into the cache otherwise.")
@click.option("--int8", is_flag=True, help="Get the quantised twin: another model, with results of its own.")
@store_option
@server_option
def download(variant: str, to: str | None, int8: bool, store: str | None, server: str | None) -> None:
    """Get the ONNX file of VARIANT (FAMILY/TAG), verified. Prints where it is.

    With SEEDZOO_OFFLINE=1 it comes from the cache, or from the directory that --store names, and nothing is connected
    to.
    """
    console = Console.current()
    with (
        open_zoo(server, store, console) as client,
        console.resumable("what arrived is kept", hint="Run the same command again to get the rest."),
        progress_bar(console) as show,
    ):
        path = client.download(variant, to=to, int8=int8, progress=show)
    document = {
        "variant": variant,
        "int8": int8,
        "path": path,
        "sha256": file_sha256(path),
        "size": path.stat().st_size,
    }
    # A path alone on its line: MODEL=$(zoo download ...) works.
    console.result(document, Rows([[path]]))
    model = shlex.quote(plain(path)) if to or int8 else f"{variant}{in_store(store)}"
    console.hint(f"zoo predict {model} --data YOUR_IMAGES/")
