"""`zoo build RECIPE`: train -> export -> certify -> stress -> bundle."""

from __future__ import annotations

from pathlib import Path

import click

from seedzoo.console import Console
from seedzoo.errors import MissingExtra


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Working folder; build/<recipe's name> by default.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Folder with the training data.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="In place of what RECIPE says, such as training.epochs=1; repeatable.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes and threads; one per usable core by default.")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Train in processes of this machine, or on a Ray cluster.",
)
@click.option("--address", help="Ray cluster that runs already; a new one on this machine by default.")
@click.option(
    "--checkpoints", help="Store for checkpoints that all workers reach: s3://bucket/prefix or a shared folder."
)
def build(
    recipe: Path,
    out: Path | None,
    data: Path | None,
    overrides: tuple[str, ...],
    workers: int | None,
    executor: str,
    address: str | None,
    checkpoints: str | None,
) -> None:
    """Train a family from RECIPE, certify it, measure its stress profile, and bundle it for `zoo publish`.

    Stopped or killed, the same command goes on where it was.
    """
    console = Console.current()
    try:
        from seedzoo.executors import open_executor  # noqa: PLC0415  (heavy parts, only where they are needed)
        from seedzoo.training.build import BuildProgress  # noqa: PLC0415
        from seedzoo.training.build import build as run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"zoo build needs {error.name}, which is not installed", hint="pip install 'seedzoo[train]'"
        ) from error
    folder = out or Path("build") / recipe.stem
    with console.progress() as bars, console.resumable(f"finished variants and blocks of images are kept in {folder}"):
        tasks = {}

        def show(progress: BuildProgress) -> None:
            if progress.step not in tasks:
                tasks[progress.step] = bars.add_task(progress.step, total=progress.total, detail="")
            bars.update(tasks[progress.step], completed=progress.done, detail=progress.note)

        bundle = run(
            recipe,
            folder,
            overrides=overrides,
            data_folder=data,
            workers=workers,
            executor=open_executor(executor, address=address, cpus=None if address else workers),
            checkpoints=checkpoints,
            on_progress=show,
            on_notice=console.warn,
        )
    certificate = bundle.family.certificate
    if certificate is None:
        raise AssertionError("a family that was built has a certificate")
    held_out = [variant.held_out_accuracy for variant in bundle.family.variants]
    files = {variant.tag: variant.model for variant in bundle.family.variants if variant.model is not None}
    console.result(
        {
            "bundle": bundle.folder,
            "family": bundle.family.name,
            "published": certificate.published,
            "trained": certificate.trained,
            "discarded": certificate.discarded,
            "held_out_mean": sum(held_out) / len(held_out),
            "files": {tag: entry.sha256 for tag, entry in files.items()},
        },
        f"{bundle.family.name}: {certificate.published} variants in {bundle.folder}, mean held-out accuracy "
        f"{100 * sum(held_out) / len(held_out):.2f} %",
        f"certified equally accurate: each within {100 * certificate.margin:g} point(s) of the mean of all "
        f"{certificate.trained} trained, of which "
        f"{len(certificate.discarded)} failed and {len(certificate.set_aside)} more were not needed",
    )
    console.hint(f"zoo publish {bundle.folder} --store s3://BUCKET/PREFIX")
