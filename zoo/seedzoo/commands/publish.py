"""`zoo publish BUNDLE`: put a family into a store."""

from __future__ import annotations

from pathlib import Path

import click

from seedzoo.catalog.bundle import open_bundle
from seedzoo.catalog.names import DEFAULT_ALIAS
from seedzoo.catalog.open import open_store
from seedzoo.catalog.publish import publish_bundle
from seedzoo.console import Console
from seedzoo.starter import STARTER_FAMILY, starter_bundle


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option(
    "--store", required=True, envvar="SEEDZOO_STORE", show_envvar=True, help="s3://bucket/prefix or a directory."
)
@click.option("--alias", default=DEFAULT_ALIAS, show_default=True, help="Mutable name that will mean this release.")
@click.option("--starter", is_flag=True, help=f"Publish the family that ships with seedzoo, {STARTER_FAMILY}.")
def publish(bundle: Path | None, store: str, alias: str, starter: bool) -> None:
    """Publish the folder BUNDLE that `zoo build` made. Readers see all of the new release or nothing of it.

    A certificate whose verdicts do not follow from its numbers is refused, and so is a model that uses other operators
    than those of the ONNX standard or keeps data in other files. A bundle without certificate or without models is
    published for browsing only: no variant of it can be selected.

    S3 credentials come from the usual places of boto3; the endpoint of another server than Amazon's from
    SEEDZOO_S3_ENDPOINT or ?endpoint= in the URL.
    """
    console = Console.current()
    if starter == (bundle is not None):
        raise click.UsageError("name a BUNDLE folder or say --starter, one of the two")
    found = open_bundle(starter_bundle() if bundle is None else bundle)
    opened = open_store(store)
    try:
        with console.progress() as bars, console.resumable("nothing of it is visible", hint="Publish again."):
            task = bars.add_task("publish", total=len(found.files), detail="")
            release, new = publish_bundle(opened, found, alias=alias, on_file=lambda _: bars.advance(task))
    finally:
        opened.close()
    said = "published" if new else "already published:"
    size = sum(entry.size for entry in release.files)
    console.result(
        {
            "family": release.family,
            "release": release.id,
            "alias": alias,
            "new": new,
            "bytes": size,
            "browse_only": not found.family.selectable,
        },
        f"{said} {release.family}@{release.id} ({len(release.files)} files, {size / 1e6:.1f} MB), "
        f"alias {alias} means it now",
    )
    if not found.family.selectable:
        why = "no certificate" if found.family.certificate is None else "not all models"
        console.note(f"{release.family} is for browsing only (it has {why}): no variant of it can be selected")
    console.hint(f"zoo serve --store {store}")
