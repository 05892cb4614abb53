"""`zoo forget`: delete uploaded images from the server."""

from __future__ import annotations

import click

from seedzoo.console import Console, plain
from seedzoo_client.cli.options import open_client, server_option

__all__ = ["forget"]


@click.command()
@click.argument("dataset")
@server_option
def forget(dataset: str, server: str | None) -> None:
    """Delete DATASET (as `zoo select` named it) from the server: its images, labels and selections."""
    console = Console.current()
    with open_client(server) as client:
        client.delete_dataset(dataset)
    console.result({"dataset_id": dataset, "deleted": True}, f"{plain(dataset)} is deleted")
