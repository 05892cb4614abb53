"""`zoo profile import` and `zoo profile report`: published results as families, and a page that shows a profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seedzoo.console import Console
from seedzoo.errors import DataError, RequestError
from seedzoo.files import write_atomically
from seedzoo.published import FORMATS, read_published, write_published
from seedzoo.published.table import SCALES
from seedzoo.report import load_profiled, render_report

__all__ = ["profile"]


@click.group()
def profile() -> None:
    """Published results as families to browse, and a page that shows a stress profile."""


def _counts(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    counts = {}
    for text in given:
        name, separator, number = text.rpartition("=")
        if not separator or not name or not number.isdecimal() or not int(number):
            raise click.BadParameter(f"{text!r} is not CONDITION=COUNT")
        counts[name] = int(number)
    return counts


@profile.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="auto", show_default=True)
@click.option("--name", required=True, help="Name of the family.")
@click.option("--id", "identity", help="Column (timm: test set) of the in-distribution accuracy.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle, new or empty.")
@click.option("--source", help="Where the results come from; the files' names by default.")
@click.option("--title", default="", help="One line about the family.")
@click.option("--licence", default="", help="Licence of the results.")
@click.option("--scale", type=click.Choice(SCALES), default="auto", show_default=True, help="What the numbers are.")
@click.option("--skip", multiple=True, metavar="COLUMN", help="Leave a column out; may be repeated.")
@click.option(
    "--factor", "factor_columns", multiple=True, metavar="COLUMN",
    help="The column describes the model and is no condition; may be repeated.",
)  # fmt: skip
@click.option(
    "--factors", "factor_file", type=click.Path(path_type=Path),
    help='JSON: {"model": "type", …} or {"model": {"factor": "level", …}, …}.',
)  # fmt: skip
@click.option("--only", metavar="REGEX", help="Take only rows whose name matches.")
@click.option(
    "--n", "counts", multiple=True, metavar="CONDITION=COUNT", callback=_counts,
    help="Examples behind a condition; gives intervals. May be repeated.",
)  # fmt: skip
@click.option("--input-kind", type=click.Choice(["image", "text", "tabular"]), default="image", show_default=True)
def import_(
    files: tuple[Path, ...],
    form: str,
    name: str,
    identity: str | None,
    out: Path,
    source: str | None,
    title: str,
    licence: str,
    scale: str,
    skip: tuple[str, ...],
    factor_columns: tuple[str, ...],
    factor_file: Path | None,
    only: str | None,
    counts: dict[str, int],
    input_kind: str,
) -> None:
    """Make a bundle of published results: FILES hold models x conditions as CSV, the first column names the model.

    The grid of imagenet-testbed and timm's results files (several, results-imagenet.csv among them) are recognised.
    The family can be browsed and compared; nothing can be selected from it, as its models are not at hand.
    """
    console = Console.current()
    table = read_published(
        files,
        form=form,
        identity=identity,
        scale=scale,
        skip=skip,
        factor_columns=factor_columns,
        factors=None if factor_file is None else _read_factors(factor_file),
        only=only,
    )
    told = source or f"imported from {', '.join(path.name for path in files)}"
    done = write_published(
        table, out, name=name, provenance=told, title=title, input_kind=input_kind, n=counts, licence=licence
    )
    if table.left_out:
        shown = ", ".join(table.left_out[:3]) + (", …" if len(table.left_out) > 3 else "")
        console.warn(f"{len(table.left_out)} models have no in-distribution accuracy and were left out: {shown}")
    console.result(
        {
            "bundle": done.folder,
            "family": name,
            "variants": len(done.family.variants),
            "conditions": done.conditions,
            "results": done.rows,
            "left_out": table.left_out,
        },
        f"{name}: {len(done.family.variants)} models under {done.conditions} conditions, {done.rows:,} results,"
        f" in {done.folder}",
    )
    console.hint(f"zoo profile report {done.folder} --out {name}.html")


@profile.command()
@click.argument("family")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The page, such as x.html.")
@click.option(
    "--store",
    envvar="SEEDZOO_STORE",
    show_envvar=True,
    help="s3://bucket/prefix or a directory, where FAMILY is published.",
)
def report(family: str, out: Path, store: str | None) -> None:
    """Write one self-contained HTML page about the stress profile of FAMILY.

    FAMILY is the folder of a bundle, or the name of a family (NAME, NAME@ALIAS) in the store. The page loads nothing
    from elsewhere, has no scripts, and can be printed.
    """
    console = Console.current()
    found = load_profiled(family, store=store)
    page = render_report(found).encode()
    write_atomically(out, page)
    console.result(
        {
            "page": out,
            "family": found.family.name,
            "variants": len(found.matrix.variants),
            "conditions": len(found.matrix.conditions),
            "bytes": len(page),
        },
        f"{found.family.name}: {len(found.matrix.variants)} variants under {len(found.matrix.conditions)} conditions,"
        f" in {out} ({len(page) / 1e6:.1f} MB)",
    )


def _read_factors(path: Path) -> dict[str, dict[str, str]]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror or error}", field="factors") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}", field="factors") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} must map models to what is known of them", field="factors")
    return {model: _levels(model, told, path) for model, told in found.items()}


def _levels(model: str, told: Any, path: Path) -> dict[str, str]:
    if isinstance(told, str):
        return {"type": told}
    if isinstance(told, dict) and all(isinstance(level, str | int | float) for level in told.values()):
        return {name: str(level) for name, level in told.items()}
    raise DataError(
        f"{path}: what is known of {model!r} is neither a word nor factors with their levels", field="factors"
    )
