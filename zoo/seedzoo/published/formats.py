"""The forms in which results are published: the imagenet-testbed grid, timm's result files, and any table."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError, RequestError
from seedzoo.published.table import MODEL, SCALES, Cells, PublishedColumn, PublishedTable, read_cells, to_shares
from seedzoo.stress.corruptions.imagenet_c import kind_name

__all__ = ["FORMATS", "guess_format", "read_published"]

FORMATS = ("auto", "imagenet-testbed", "timm", "table")

_ID = "id"
_GRID_CORRUPTION = re.compile(r"imagenet-c\.([a-z0-9_]+)\.([1-5])_(in-memory|on-disk)")
_GRID_ID = "val"
_TIMM_ID = "imagenet"
_TIMM_COLUMNS = frozenset({"model", "img_size", "top1", "top5"})
# Test sets that were photographed or drawn, not computed from the validation images.
_NATURAL = re.compile(r"imagenet-?v2|imagenet-a$|imagenet-r$|(imagenet-)?sketch$|objectnet|imagenet-vid|ytbb")
_UNKNOWN = "unknown"


def guess_format(cells: Cells) -> str:
    """The format that a file's header shows."""
    if set(cells.header) >= _TIMM_COLUMNS:
        return "timm"
    if _GRID_ID in cells.header and any(_GRID_CORRUPTION.fullmatch(name) for name in cells.header):
        return "imagenet-testbed"
    return "table"


def read_published(
    paths: Sequence[Path],
    *,
    form: str = "auto",
    identity: str | None = None,
    scale: str = "auto",
    skip: Sequence[str] = (),
    factor_columns: Sequence[str] = (),
    factors: Mapping[str, Mapping[str, str]] | None = None,
    only: str | None = None,
) -> PublishedTable:
    """Read published results.

    Args:
        paths: One CSV of models x conditions, the first column naming the models; or timm's files, one for each test
            set, named ``results-<set>.csv``.
        form: One of `FORMATS`.
        identity: The column (with timm: the test set) of the in-distribution accuracy; the format's own when None.
        scale: Whether numbers are percentages or shares; see :func:`seedzoo.published.table.to_shares`. The formats of
            imagenet-testbed and timm are known to hold percentages.
        skip: Columns that are no condition.
        factor_columns: Columns that describe the model.
        factors: Model -> factor -> level, beside what the file says.
        only: Regular expression that the names of the models must match wholly; others are rows of something else,
            such as means.

    Raises:
        DataError: What a file holds cannot be used.
        RequestError: An argument cannot be used.
    """
    for value, known, field in ((form, FORMATS, "format"), (scale, SCALES, "scale")):
        if value not in known:
            raise RequestError(f"{value!r} is no {field}", hint=f"There are: {', '.join(known)}.", field=field)
    if not paths:
        raise RequestError("there is no file to import", field="file")
    cells = [_only(read_cells(path), only) for path in paths]
    found = guess_format(cells[0]) if form == "auto" else form
    if scale == "auto" and found != "table":
        scale = "percent"  # both write percentages, also where all of them are below 1
    if found == "timm":
        if skip or factor_columns:
            raise RequestError("timm's files have fixed columns: --skip and --factor do not apply", field="format")
        table = _timm(paths, cells, identity=identity or _TIMM_ID, scale=scale)
    else:
        if len(cells) > 1:
            raise RequestError(
                f"{len(cells)} files were given; only timm's results come in several",
                hint="Import one table at a time.",
                field="file",
            )
        table = _grid(
            cells[0],
            identity=identity or (_GRID_ID if found == "imagenet-testbed" else _ID),
            testbed=found == "imagenet-testbed",
            scale=scale,
            skip=skip,
            factor_columns=factor_columns,
        )
    return _with_factors(_with_identity(table), factors or {})


def _only(cells: Cells, pattern: str | None) -> Cells:
    if pattern is None:
        return cells
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise RequestError(f"{pattern!r} is no regular expression: {error}", field="only") from error
    kept = [i for i, row in enumerate(cells.rows) if wanted.fullmatch(row[0])]
    if not kept:
        raise DataError(
            f"{cells.where}: no model's name matches {pattern!r}",
            hint=f"The first is {cells.rows[0][0]!r}; the expression must match whole names.",
            field="only",
        )
    return Cells(
        where=cells.where,
        header=cells.header,
        rows=tuple(cells.rows[i] for i in kept),
        lines=tuple(cells.lines[i] for i in kept),
    )


def _grid(
    cells: Cells, *, identity: str, testbed: bool, scale: str, skip: Sequence[str], factor_columns: Sequence[str]
) -> PublishedTable:
    named = cells.header[1:]
    for name in (*skip, *factor_columns, identity):
        if name not in named:
            near = difflib.get_close_matches(name, named, n=3, cutoff=0.4)
            offered = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(named[:12])}."
            what = " with the in-distribution accuracies" if name == identity else ""
            raise DataError(
                f"{cells.where} has no column {name!r}{what}",
                hint=f"{offered} --id names it." if name == identity else offered,
                field="id" if name == identity else "column",
            )
    conditions = [name for name in named if name not in skip and name not in factor_columns]
    if identity not in conditions:
        raise RequestError(f"the column {identity!r} cannot be the in-distribution accuracy and left out", field="id")
    conditions.sort(key=lambda name: name != identity)
    models = [row[0] for row in cells.rows]
    accuracies = to_shares(
        cells,
        conditions,
        models=models,
        scale=scale,
        hint="Say --factor COLUMN if the column describes the model, --skip COLUMN to leave it out.",
    )
    described = tuple(
        {name: row[cells.header.index(name)] or _UNKNOWN for name in factor_columns} for row in cells.rows
    )
    columns = [_column(name, identity=identity, testbed=testbed) for name in conditions]
    if clash := [column.source for column in columns[1:] if column.name == _ID]:
        raise DataError(
            f"{cells.where} has a column {clash[0]!r} beside the in-distribution accuracies {identity!r}",
            hint="Rename or --skip it: conditions need names of their own.",
            field="id",
        )
    return PublishedTable(models=tuple(models), factors=described, columns=tuple(columns), accuracies=accuracies)


def _column(name: str, *, identity: str, testbed: bool) -> PublishedColumn:
    if name == identity:
        return PublishedColumn(name=_ID, kind=_ID, severity=None, source=name)
    if testbed and (found := _GRID_CORRUPTION.fullmatch(name)):
        # In memory is how seedzoo corrupts too; on disk is the published set, stored as JPEG.
        suite = "imagenet-c" if found[3] == "in-memory" else "imagenet-c-disk"
        kind = kind_name(suite, found[1])
        return PublishedColumn(name=f"{kind}-{found[2]}", kind=kind, severity=int(found[2]), source=name)
    if testbed and name.startswith("val"):
        return PublishedColumn(name=name, kind="id-subset", severity=None, source=name)
    if testbed and _NATURAL.match(name):
        return PublishedColumn(name=f"natural/{name}", kind="natural", severity=None, source=name)
    return PublishedColumn(name=name, kind="published", severity=None, source=name)


def _timm(paths: Sequence[Path], files: Sequence[Cells], *, identity: str, scale: str) -> PublishedTable:
    sets = [path.stem.removeprefix("results-") for path in paths]
    if repeated := [name for name, count in Counter(sets).items() if count > 1]:
        raise DataError(f"two files hold the test set {repeated[0]!r}", hint="Give each once.", field="file")
    if identity not in sets:
        near = difflib.get_close_matches(identity, sets, n=1, cutoff=0.4)
        raise DataError(
            f"no file holds the in-distribution test set {identity!r}",
            hint=f"Add results-{identity}.csv, or name another with --id{f', such as {near[0]}' if near else ''};"
            f" given are: {', '.join(sets)}.",
            field="id",
        )
    for cells in files:
        if lacking := sorted(_TIMM_COLUMNS - set(cells.header)):
            raise DataError(
                f"{cells.where} is no results file of timm: it lacks {', '.join(lacking)}",
                hint="Import it with --format table.",
                field="format",
            )
    order = sorted(range(len(sets)), key=lambda k: sets[k] != identity)
    keys = {key: None for k in order for key in _timm_keys(files[k])}
    twice = {name for name, count in Counter(model for model, _ in keys).items() if count > 1}
    place = {key: i for i, key in enumerate(keys)}
    accuracies, top5 = (np.full((len(keys), len(sets)), np.nan) for _ in range(2))
    for position, k in enumerate(order):
        at = [place[key] for key in _timm_keys(files[k])]
        names = [f"{model} at {size} px" for model, size in _timm_keys(files[k])]
        values = to_shares(files[k], ["top1", "top5"], models=names, scale=scale, hint="Correct the file.")
        accuracies[at, position], top5[at, position] = values.T
    return PublishedTable(
        models=tuple(f"{model}@{size}" if model in twice else model for model, size in keys),
        factors=tuple({"img_size": size or _UNKNOWN} for _, size in keys),
        columns=tuple(_timm_column(sets[k], identity=identity) for k in order),
        accuracies=accuracies,
        top5=top5,
    )


def _timm_column(name: str, *, identity: str) -> PublishedColumn:
    if name == identity:
        return PublishedColumn(name=_ID, kind=_ID, severity=None, source=name)
    if name.endswith("-clean"):
        return PublishedColumn(name=name, kind="id-subset", severity=None, source=name)
    if _NATURAL.match(name):
        return PublishedColumn(name=f"natural/{name}", kind="natural", severity=None, source=name)
    return PublishedColumn(name=name, kind="published", severity=None, source=name)


def _timm_keys(cells: Cells) -> list[tuple[str, str]]:
    """A model is evaluated at several sizes under one name."""
    model, size = cells.header.index("model"), cells.header.index("img_size")
    return [(row[model], row[size]) for row in cells.rows]


def _with_identity(table: PublishedTable) -> PublishedTable:
    """Without models that have no in-distribution accuracy, and without conditions that then hold nothing."""
    kept = ~np.isnan(table.accuracies[:, 0])
    if not kept.any():
        raise DataError(
            f"no model has an in-distribution accuracy: {table.columns[0].source!r} is empty",
            hint="Name another with --id.",
            field="id",
        )
    rows = np.flatnonzero(kept)
    filled = np.flatnonzero(~np.isnan(table.accuracies[rows]).all(axis=0))

    def part(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values[np.ix_(rows, filled)]

    return PublishedTable(
        models=tuple(table.models[i] for i in rows),
        factors=tuple(table.factors[i] for i in rows),
        columns=tuple(table.columns[k] for k in filled),
        accuracies=part(table.accuracies),
        top5=None if table.top5 is None else part(table.top5),
        left_out=tuple(name for name, keep in zip(table.models, kept, strict=True) if not keep),
    )


def _with_factors(table: PublishedTable, given: Mapping[str, Mapping[str, str]]) -> PublishedTable:
    """Every variant with the same factors: what is not known of one is said to be so."""
    if MODEL in {name for levels in (*table.factors, *given.values()) for name in levels}:
        raise RequestError(
            f"a factor cannot be called {MODEL!r}: that one keeps the published name",
            hint="Rename it.",
            field="factors",
        )
    names = dict.fromkeys(name for model in table.models for name in given.get(model, {}))
    if given and not names:
        raise DataError(
            "the factors describe none of the models",
            hint=f"They are of {next(iter(given))!r}, …; the table's first model is {table.models[0]!r}.",
            field="factors",
        )
    merged = tuple(
        {**own, **{name: given.get(model, {}).get(name) or _UNKNOWN for name in names}}
        for model, own in zip(table.models, table.factors, strict=True)
    )
    return PublishedTable(
        models=table.models,
        factors=merged,
        columns=table.columns,
        accuracies=table.accuracies,
        top5=table.top5,
        left_out=table.left_out,
    )
