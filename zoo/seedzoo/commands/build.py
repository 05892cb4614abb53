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
@click.option("--workers", type=click.IntRange(min=1), help="Training processes; one per usable core by default.")
def build(recipe: Path, out: Path | None, data: Path | None, workers: int | None) -> None:
    """Train a family from RECIPE, certify it, measure its stress profile, and bundle it for `zoo publish`.

    Stopped or killed, the same command goes on where it was.
    """
    console = Console.current()
    try:
        from seedzoo.training.build import BuildProgress  # noqa: PLC0415  (torch, only where it is needed)
        from seedzoo.training.build import build as run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"zoo build needs {error.name}, which is not installed", hint="pip install 'seedzoo[train]'"
        ) from error
    folder = out or Path("build") / recipe.stem
    with console.progress() as bars, console.resumable(f"finished variants and conditions are kept in {folder}"):
        tasks = {}

        def show(progress: BuildProgress) -> None:
            if progress.step not in tasks:
                tasks[progress.step] = bars.add_task(progress.step, total=progress.total, detail="")
            bars.update(tasks[progress.step], completed=progress.done, detail=progress.note)

        bundle = run(recipe, folder, data_folder=data, workers=workers, on_progress=show)
    certificate = bundle.family.certificate
    held_out = [variant.held_out_accuracy for variant in bundle.family.variants]
    console.result(
        {
            "bundle": bundle.folder,
            "family": bundle.family.name,
            "published": certificate.published,
            "trained": certificate.trained,
            "discarded": certificate.discarded,
            "held_out_mean": sum(held_out) / len(held_out),
            "files": {variant.tag: variant.model.sha256 for variant in bundle.family.variants},
        },
        f"{bundle.family.name}: {certificate.published} variants in {bundle.folder}, mean held-out accuracy "
        f"{100 * sum(held_out) / len(held_out):.2f} %",
        f"certified equally accurate within {100 * certificate.margin:g} point(s); of {certificate.trained} trained, "
        f"{len(certificate.discarded)} failed and {len(certificate.set_aside)} more were not needed",
    )
    console.hint(f"zoo publish {bundle.folder} --store s3://BUCKET/PREFIX")
