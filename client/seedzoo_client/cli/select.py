"""`zoo select`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import RenderableType

from seedzoo.console import Console, plain, to_plain_data
from seedzoo.errors import RequestError
from seedzoo.records import SelectionReport
from seedzoo_client.cli.options import open_client, progress_bar, server_option
from seedzoo_client.cli.report import render_report
from seedzoo_client.client import Client
from seedzoo_client.scan import scan_data
from seedzoo_client.upload import UploadedDataset

__all__ = ["select"]


_HELP = """Pick the variant that is best on your own labelled images.

\b
  zoo select --data mydata/
  mydata/bag/1.png, mydata/coat/2.png, ...    or a CSV file with path,label

A few hundred images are usually enough. They are sent to the server; their file names are not. Stopped with Ctrl-C,
the same command goes on with what is uploaded already.
"""


@click.command(help=_HELP)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Folder with one folder per class, or CSV."
)
@click.option("--family", help="Which family to choose from, where several fit the data.")
@click.option("--label-map", type=click.Path(path_type=Path), help="CSV, JSON or TOML: your class names to the task's.")
@click.option("--group", metavar="COLUMN", help="CSV column: images with the same value depend on each other.")
@click.option("--objective", default="accuracy", show_default=True, help="What to maximise.")
@click.option("--alpha", default=0.05, show_default=True, help="1 - coverage of the intervals.")
@click.option("--delta", default=0.01, show_default=True, help="What counts as just as good; 0.01 is one point.")
@server_option
def select(
    data: Path,
    family: str | None,
    label_map: Path | None,
    group: str | None,
    objective: str,
    alpha: float,
    delta: float,
    server: str | None,
) -> None:
    """Run `zoo select`."""
    console = Console.current()
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0 < value < 1:
            raise RequestError(f"--{name} must lie between 0 and 1, not {value:g}", field=name)
    # What is wrong with the data needs no server to be told.
    scan_data(data, group=group)
    with open_client(server) as client:
        try:
            uploaded, report = _select(
                console, client, data, family, label_map, group, objective=objective, alpha=alpha, delta=delta
            )
            console.result(*_answer(uploaded, report))
        except BaseException:
            # Whatever ends it, Ctrl-C included: nobody else knows what to delete.
            if client.last_dataset_id is not None:
                console.error_details["dataset_id"] = client.last_dataset_id
                console.note(_kept(client.last_dataset_id))
            raise
    name = plain(report.recommended)
    console.note(f"{report.evaluations:,} predictions in {report.seconds:.1f} s; {_kept(uploaded.id)}")
    console.hint(f"zoo download {name} --to ./")
    console.hint(f"zoo predict {name} --data NEW_IMAGES/")


def _select(
    console: Console,
    client: Client,
    data: Path,
    family: str | None,
    label_map: Path | None,
    group: str | None,
    **asked: Any,
) -> tuple[UploadedDataset, SelectionReport]:
    hint = "Run the same command again: it goes on from there."
    with console.resumable("what is uploaded stays on the server", hint=hint), progress_bar(console) as show:
        uploaded = client.upload(data, family=family, label_map=label_map, group=group, progress=show)
        for note in uploaded.local.notes:
            console.note(note)
        for warning in uploaded.warnings:
            console.warn(warning)
        return uploaded, client.select(uploaded, progress=show, **asked)


def _answer(uploaded: UploadedDataset, report: SelectionReport) -> tuple[dict[str, Any], RenderableType]:
    document = {**to_plain_data(report), "dataset_id": uploaded.id, "data_warnings": list(uploaded.warnings)}
    paths = [item.path for item in uploaded.local.items]
    for doubt in document["label_doubts"]:
        doubt["path"] = str(paths[doubt["index"]])
    return document, render_report(report, paths=paths)


def _kept(dataset_id: str) -> str:
    return f"your images stay on the server until: zoo forget {dataset_id}"
