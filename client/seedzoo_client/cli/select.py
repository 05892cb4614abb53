"""`zoo select`: the main job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seedzoo.console import Console, plain, to_plain_data
from seedzoo.records import Evaluation, SelectionReport
from seedzoo_client.asking import Inquiry
from seedzoo_client.cli.options import (
    FilePath,
    in_store,
    kept_images,
    open_client,
    open_local,
    progress_bar,
    say_what_is_kept,
    server_option,
    store_option,
)
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.labels import ClassMatcher
from seedzoo_client.scan import Scan, scan_data

if TYPE_CHECKING:
    from seedzoo_client.local import LocalZoo, ReadDataset
    from seedzoo_client.upload_steps import UploadedDataset

__all__ = ["select"]

_Data = TypeVar("_Data", bound="UploadedDataset | ReadDataset")


_HELP = """Pick the variant that is best on your own images.

\b
  zoo select --data mydata/
  mydata/bag/1.png, mydata/coat/2.png, ...    or a CSV file with path,label

A few hundred labels usually separate the variants where they differ strongly. Images without label (beside the class
folders, in a folder without any, or with an empty label in the CSV file) help to choose; without any label, variants
are only ranked. Images are sent to the server; their file names are not. Stopped with Ctrl-C, the same command goes on
with what is uploaded already. With --store no server takes part: the images stay on this machine, and what was
evaluated is kept.
"""


@click.command(help=_HELP)
@click.option("--data", required=True, type=FilePath(), help="Folder with one folder per class, or CSV.")
@click.option("--family", help="Which family to choose from, where several fit the data.")
@click.option("--label-map", type=FilePath(), help="CSV, JSON or TOML: your class names to the task's.")
@click.option("--group", metavar="COLUMN", help="CSV column: images with the same value depend on each other.")
@click.option(
    "--slices",
    multiple=True,
    metavar="COLUMN",
    help="CSV column that divides the images (camera, hospital); again for more. Its name and values are sent.",
)
@click.option(
    "--objective", default="accuracy", show_default=True, metavar="NAME", help="What to maximise, such as top_k:3."
)
@click.option(
    "--require",
    "requirements",
    multiple=True,
    metavar="TEXT",
    help="What else it must fulfil, such as 'accuracy[camera=B] >= .8'; again for more.",
)
@click.option(
    "--class-proportions",
    metavar="SHARES",
    help="How frequent the classes are, where known and labels are missing: bag=.3,coat=.7, a CSV, JSON or TOML file, "
    "or uniform.",
)
@click.option(
    "--costs",
    type=FilePath(),
    help="CSV for --objective cost: called classes in the first row, true ones in the first column.",
)
@click.option("--exhaustive", is_flag=True, help="Evaluate every variant on every image.")
@click.option("--race", is_flag=True, help="Drop variants that can no longer be the best; as sure, on fewer images.")
@click.option("--fast", is_flag=True, help="Stop early with a leader that is probably good enough; not calibrated.")
@click.option(
    "--no-prior", is_flag=True, help="Choose by the labels alone, without the stored stress tests; needs labels."
)
@click.option("--alpha", default=0.05, show_default=True, help="1 - coverage of the intervals.")
@click.option(
    "--delta", default=0.01, show_default=True, help="What counts as just as good; 0.01 is one point, or .01 of a cost."
)
@store_option
@click.option(
    "--executor",
    type=click.Choice(["threads", "ray"]),
    help="With --store: evaluate in threads of this machine (as usual), or on a Ray cluster, to which images are sent.",
)
@click.option("--address", help="With --executor ray: a cluster that runs already; one of this machine otherwise.")
@server_option
def select(
    data: Path,
    family: str | None,
    label_map: Path | None,
    group: str | None,
    slices: tuple[str, ...],
    exhaustive: bool,
    race: bool,
    fast: bool,
    no_prior: bool,
    store: str | None,
    executor: str | None,
    address: str | None,
    server: str | None,
    **asked: Any,
) -> None:
    """Run `zoo select`."""
    console = Console.current()
    local = _local(console, store, server, executor=executor, address=address)
    inquiry = Inquiry(
        evaluation=_evaluation({"exhaustive": exhaustive, "race": race, "fast": fast}), prior=not no_prior, **asked
    )
    # What is wrong with the question or the data needs no server to be told.
    inquiry.check()
    scan = scan_data(data, group=group, slices=slices)
    inquiry.check_labels(any_label=bool(scan.labels))
    for warning in scan.warnings:
        console.warn(warning)
    if scan.label_note:
        console.note(scan.label_note)
    elif inquiry.class_proportions is not None:
        console.note("every image has a label, so --class-proportions changes nothing")
    if local is not None:
        with local:
            read, report = _select(
                console, local.read, local.select, scan, inquiry, family=family, label_map=label_map,
                kept="what was kept is not evaluated again", begin="Opening the store",
            )  # fmt: skip
            _answer(console, read, report)
        name = plain(report.recommended)
        console.note(f"{report.evaluations:,} predictions in {report.seconds:.1f} s, kept on this machine")
        console.hint(f"zoo download {name}{in_store(store)} --to ./")
        console.hint(f"zoo predict {name.replace('/', '-')}.onnx --data NEW_IMAGES/")
        return
    with open_client(server) as client:
        try:
            uploaded, report = _select(
                console, client.upload, client.select, scan, inquiry, family=family, label_map=label_map,
                kept="what is uploaded stays on the server", begin="Connecting",
            )  # fmt: skip
            _answer(console, uploaded, report)
        except BaseException as error:
            # Whatever ends it, Ctrl-C included.
            say_what_is_kept(console, client, error)
            raise
    name = plain(report.recommended)
    console.note(f"{report.evaluations:,} predictions in {report.seconds:.1f} s; {kept_images(uploaded.id)}")
    console.hint(f"zoo download {name} --to ./")
    console.hint(f"zoo predict {name} --data NEW_IMAGES/")


def _local(
    console: Console, store: str | None, server: str | None, *, executor: str | None, address: str | None
) -> LocalZoo | None:
    """What works without a server, where a store is named."""
    if store is not None:
        return open_local(store, server, console, executor=executor or "threads", address=address)
    for flag, given in (("--executor", executor), ("--address", address)):
        if given is not None:
            raise click.UsageError(f"{flag} goes with --store: a server decides by itself where it evaluates")
    return None


def _evaluation(flags: Mapping[str, bool]) -> Evaluation:
    given = [name for name, is_given in flags.items() if is_given]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(f'--{name}' for name in given)} exclude each other")
    return Evaluation(given[0]) if given else Evaluation.AUTO


def _select(
    console: Console,
    bring: Callable[..., _Data],
    choose: Callable[..., SelectionReport],
    scan: Scan,
    inquiry: Inquiry,
    *,
    family: str | None,
    label_map: Path | None,
    kept: str,
    begin: str,
) -> tuple[_Data, SelectionReport]:
    """Bring the data to where variants are evaluated, and have one chosen there."""

    def check(dataset: LocalDataset) -> None:
        inquiry.check_classes(ClassMatcher(dataset.classes, label_map))

    hint = "Run the same command again: it goes on from there."
    with console.resumable(kept, hint=hint), progress_bar(console, begin=begin) as show:
        data = bring(scan, family=family, label_map=label_map, check=check, progress=show)
        for note in data.local.notes:
            console.note(note)
        for warning in data.warnings:
            if warning not in scan.warnings:
                console.warn(warning)
        return data, choose(
            data,
            label_map=label_map,
            progress=show,
            **{field.name: getattr(inquiry, field.name) for field in fields(inquiry)},
        )


def _answer(console: Console, data: UploadedDataset | ReadDataset, report: SelectionReport) -> None:
    document = {**to_plain_data(report), "dataset_id": data.id, "data_warnings": list(data.warnings)}
    paths = [item.path for item in data.local.items]
    for doubt in document["label_doubts"]:
        doubt["path"] = str(paths[doubt["index"]])
    if console.json_mode:
        console.result(document)
        return
    from seedzoo_client.cli.report import render_report  # noqa: PLC0415 - what draws tables takes a while to load

    console.result(document, render_report(report, paths=paths))
