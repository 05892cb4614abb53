"""`zoo stress`: measure a bundle's variants under more conditions, list the conditions, or draw them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from seedzoo.console import Console, Rows
from seedzoo.errors import MissingExtra, RequestError
from seedzoo.files import local_failure

if TYPE_CHECKING:
    from seedzoo.executors import Executor
    from seedzoo.stress import Condition
    from seedzoo.training.stress_bundle import Restress

_DEFAULT_SUITE = "small-images"
_NAMED = 5
_SHOWN = 4


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--suite", help="Suite of conditions; --list shows them all.")
@click.option("--conditions", metavar="NAME,NAME", help="These conditions, in place of a suite.")
@click.option(
    "--natural",
    multiple=True,
    metavar="NAME=PATH",
    help="Natural shift on disk, such as "
    "objectnet=/data/objectnet, or the path of a set file, manifest or folder; repeatable.",
)
@click.option("--slices", metavar="COLUMN,COLUMN", help="Columns of manifests whose values become conditions.")
@click.option(
    "--recipe",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Recipe whose data is the in-distribution set; the bundle's own by default.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with one folder of images per class, or with the data that the recipe wants.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many images of each set, drawn at random.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out images that cannot be read, and count them.")
@click.option("--replace", "replace_profile", is_flag=True, help="Drop what the profile has, instead of adding to it.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads or cores; one per usable core by default.")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Evaluate in threads of this machine, or on a Ray cluster.",
)
@click.option("--address", help="Ray cluster that runs already; a new one on this machine by default.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where finished blocks are kept; beside BUNDLE by default.",
)
@click.option("--list", "listing", is_flag=True, help="List suites and conditions, and do nothing else.")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Draw ten images under every condition into this file, and measure nothing.",
)
def stress(
    bundle: Path | None,
    suite: str | None,
    conditions: str | None,
    natural: tuple[str, ...],
    slices: str | None,
    recipe: Path | None,
    data: Path | None,
    limit: int | None,
    skip_unreadable: bool,
    replace_profile: bool,
    workers: int | None,
    executor: str,
    address: str | None,
    work: Path | None,
    listing: bool,
    sheet: Path | None,
) -> None:
    """Measure the variants of BUNDLE under more conditions, and add the results to its profile.

    BUNDLE is a folder that `zoo build` made. Stopped or killed, the same command goes on where it was. Results
    that are there stay where they come from the same images and models.
    """
    if suite is not None and conditions is not None:
        raise click.UsageError("--suite and --conditions exclude each other")
    try:
        import seedzoo.stress  # noqa: F401, PLC0415  (heavy parts, only where they are needed)
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    if listing:
        _list(suite)
        return
    chosen = _chosen(suite, conditions)
    if sheet is not None:
        _draw(sheet, chosen or _chosen(_DEFAULT_SUITE, None), bundle, data, recipe)
        return
    if bundle is None:
        raise click.UsageError("name a BUNDLE, or say --list or --sheet")
    _measure(
        bundle,
        chosen=chosen,
        suite=suite or ("chosen" if conditions else ""),
        natural=natural,
        slices=_words(slices),
        recipe=recipe,
        data=data,
        limit=limit,
        skip_unreadable=skip_unreadable,
        replace_profile=replace_profile,
        threads=workers,
        executor=_executor(executor, address, workers),
        work=work,
    )


def _executor(kind: str, address: str | None, workers: int | None) -> Executor | None:
    """None for threads of this process."""
    if kind == "local" and address is None:
        return None
    from seedzoo.executors import open_executor  # noqa: PLC0415

    return open_executor(kind, address=address, cpus=None if address else workers)


def _missing(error: ModuleNotFoundError) -> MissingExtra:
    return MissingExtra(f"zoo stress needs {error.name}, which is not installed", hint="pip install 'seedzoo[local]'")


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _chosen(suite: str | None, names: str | None) -> tuple[Condition, ...]:
    from seedzoo.stress import get_condition  # noqa: PLC0415
    from seedzoo.stress import suite as conditions_of  # noqa: PLC0415

    if suite is not None:
        return conditions_of(suite)
    return tuple(get_condition(name) for name in dict.fromkeys(_words(names)))


def _list(only: str | None) -> None:
    from seedzoo.stress import conditions, suite, suite_names  # noqa: PLC0415

    names = suite_names() if only is None else (only,)
    held = {name: [condition.name for condition in suite(name)] for name in names}
    shown = conditions() if only is None else suite(only)
    Console.current().result(
        {
            "suites": held,
            "conditions": [
                {"name": one.name, "kind": one.kind, "severity": one.severity, "description": one.description}
                for one in shown
            ],
        },
        Rows([f"suite {name}", f"{len(found)} conditions"] for name, found in held.items()),
        Rows([condition.name, condition.description] for condition in shown),
    )


def _draw(path: Path, chosen: Sequence[Condition], bundle: Path | None, data: Path | None, recipe: Path | None) -> None:
    from seedzoo.stress import contact_sheet  # noqa: PLC0415
    from seedzoo.stress.sheet_images import bundled_images, folder_images  # noqa: PLC0415

    if bundle is not None and (data is not None or recipe is not None):
        from seedzoo.catalog.bundle import open_bundle  # noqa: PLC0415
        from seedzoo.training.stress_bundle import id_set  # noqa: PLC0415

        images = id_set(open_bundle(bundle), recipe=recipe, data=data)[0].images
        examples = images.read(np.linspace(0, len(images.labels) - 1, min(10, len(images.labels))).astype(int))
    else:
        examples = bundled_images() if data is None else folder_images(data)
    picture = contact_sheet(examples, chosen)
    try:
        picture.save(path, format="PNG")
    except OSError as error:
        raise local_failure(error, path) from error
    Console.current().result(
        {"sheet": path, "conditions": [one.name for one in chosen], "images": len(examples)},
        f"{len(chosen)} conditions on {len(examples)} images in {path}",
    )


def _measure(bundle: Path, *, chosen: Sequence[Condition], suite: str, natural: Sequence[str], **settings: Any) -> None:
    try:
        from seedzoo.stress.measure import StressProgress  # noqa: PLC0415
        from seedzoo.training.stress_bundle import stress_bundle  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    if not chosen and not natural and not settings["slices"]:
        raise RequestError(
            "there is nothing to measure", hint="Say --suite, --conditions, --natural or --slices; --list shows suites."
        )
    console = Console.current()
    with console.progress() as bars, console.resumable("finished blocks of images are kept"):
        overall = bars.add_task("all", total=None, detail="")
        tasks: dict[str, Any] = {}

        def show(progress: StressProgress) -> None:
            detail = f"{progress.rate:,.0f} images/s"
            bars.update(overall, completed=progress.all_done, total=progress.all_total, detail=detail)
            name = progress.condition
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=progress.total, detail="")
            # Conditions go side by side; only the last few that moved are on the screen.
            tasks[name] = tasks.pop(name)
            bars.update(tasks[name], completed=progress.done)
            for place, task in enumerate(reversed(tasks.values())):
                bars.update(task, visible=place < _SHOWN)

        found = stress_bundle(
            bundle,
            conditions=chosen,
            suite=suite or "id",
            natural=natural,
            on_progress=show,
            on_notice=console.warn,
            **settings,
        )
    _tell(console, found)


def _tell(console: Console, found: Restress) -> None:
    accuracies: dict[str, list[float]] = {}
    for row in found.rows:
        accuracies.setdefault(row.condition, []).append(row.accuracy)
    table: list[dict[str, Any]] = [
        {"condition": name, "mean": float(np.mean(values)), "min": min(values), "max": max(values)}
        for name, values in accuracies.items()
    ]
    for name, skipped in found.skipped.items():
        shown = "; ".join(f"{one.name}: {one.reason}" for one in skipped[:_NAMED])
        more = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        console.warn(f"{len(skipped)} images of {name} cannot be read and were left out: {shown}{more}")
    console.result(
        {
            "bundle": found.bundle.folder,
            "family": found.bundle.family.name,
            "measured": table,
            "kept": found.kept,
            "skipped": {
                name: [{"name": one.name, "reason": one.reason} for one in skipped]
                for name, skipped in found.skipped.items()
            },
        },
        Rows(
            [
                f"{entry['condition']}",
                f"mean {100 * entry['mean']:.2f} %",
                f"{100 * entry['min']:.2f} to {100 * entry['max']:.2f} %",
            ]
            for entry in table
        ),
        f"{found.bundle.family.name}: {len(found.measured)} conditions measured, {len(found.kept)} kept as they were, "
        f"in {found.bundle.folder}",
    )
    console.hint(f"zoo publish {found.bundle.folder} --store s3://BUCKET/PREFIX")
