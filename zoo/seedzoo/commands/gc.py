"""`zoo gc`: delete what unfinished publishes left in a store."""

from __future__ import annotations

import click

from seedzoo.catalog.garbage import GARBAGE_AFTER, collect_garbage
from seedzoo.catalog.open import open_store
from seedzoo.console import Console, Rows

_HOURS = int(GARBAGE_AFTER.total_seconds()) // 3600


@click.command()
@click.option(
    "--store", required=True, envvar="SEEDZOO_STORE", show_envvar=True, help="s3://bucket/prefix or a directory."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def gc(store: str, dry_run: bool) -> None:
    """Delete releases that were never committed and had no write for 24 hours.

    Published releases are never touched, nor is a publish that is running. Servers do the same by themselves.
    """
    opened = open_store(store)
    try:
        families = list(opened.list_folders("families"))
        found = collect_garbage(opened, dry_run=dry_run)
    finally:
        opened.close()
    console = Console.current()
    size = sum(release.bytes for release in found)
    console.result(
        {"releases": found, "bytes": size, "dry_run": dry_run},
        Rows(
            [f"{release.family}@{release.id}", f"{release.objects} objects", f"{release.bytes} bytes",
             f"last written {release.newest.isoformat(timespec='seconds')}"]
            for release in found
        ),
    )  # fmt: skip
    if not families:
        console.warn(f"{store} has no families at all: is it the right store?")
    said = "would be deleted" if dry_run else "deleted"
    console.note(f"{len(found)} unfinished releases older than {_HOURS} hours, {size / 1e6:.1f} MB, {said}")
