"""A table of published results, and the CSV cells that it is read from."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError

__all__ = ["MODEL", "SCALES", "Cells", "PublishedColumn", "PublishedTable", "read_cells", "to_shares"]

MODEL = "model"
"""The factor that keeps a variant's published name."""

SCALES = ("auto", "percent", "share")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_EMPTY = frozenset({"", "nan", "na", "n/a", "none", "null", "-", "–", "—"})


@dataclass(frozen=True, kw_only=True)
class PublishedColumn:
    """One condition of a published table.

    Attributes:
        name: The condition's name.
        kind: Its kind.
        severity: 1 upwards; None where there are no degrees.
        source: The column or file that it was read from.
    """

    name: str
    kind: str
    severity: int | None
    source: str


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedTable:
    """Published results of M models under K conditions.

    Attributes:
        models: M names, as published.
        factors: For each model, level by factor; the same factors for all.
        columns: K conditions; the first is ``id``.
        accuracies: float64 [M, K] shares; NaN where nothing was published.
        top5: The same of top-5 accuracies; None where there are none.
        left_out: Models without in-distribution accuracy, which cannot be variants.
    """

    models: tuple[str, ...]
    factors: tuple[Mapping[str, str], ...]
    columns: tuple[PublishedColumn, ...]
    accuracies: NDArray[np.float64]
    top5: NDArray[np.float64] | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A CSV file: its header and its rows, all of the header's length, without blank ones.

    Attributes:
        where: The file's name, for errors.
        header: Names of the columns.
        rows: The cells.
        lines: The line that each row ends on.
    """

    where: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...] = field(repr=False)


def read_cells(path: Path) -> Cells:
    """Read a CSV file with a header.

    Raises:
        DataError: The file cannot be read, is no UTF-8 text, is empty, or a row or the header is malformed.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", hint="Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text", hint="Save it as CSV in UTF-8.") from error
    if "\0" in text:
        raise DataError(f"{path} is no text file", hint="Save it as CSV in UTF-8.")
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for given in reader:
            cells = tuple(cell.strip() for cell in given)
            if any(cells):
                rows.append(cells)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}", hint="Save it as comma-separated CSV.") from error
    if len(rows) < 2:
        raise DataError(
            f"{path} holds no results", hint="The first row names the columns, each further one is a model."
        )
    header = rows[0]
    if len(header) < 2:
        raise DataError(f"{path} has one column only", hint="Save it as comma-separated CSV.")
    _refuse_repeats(header, where=str(path), what="column")
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line}: {len(row)} cells, the header has {len(header)}",
                hint="Every row needs a cell for each column; quote cells that hold a comma.",
            )
    return Cells(where=str(path), header=header, rows=tuple(rows[1:]), lines=tuple(lines[1:]))


def _refuse_repeats(names: Sequence[str], *, where: str, what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise DataError(f"{where}: a {what} has no name", hint=f"Name every {what}.")
        if name in seen:
            raise DataError(f"{where}: the {what} {name!r} is there twice", hint="Each must be there once.")
        seen.add(name)


def _refuse_two_scales(
    cells: Cells, columns: Sequence[str], values: NDArray[np.float64], signed: NDArray[np.bool_]
) -> None:
    """No column of percentages may look like one of shares: 0.91 beside 35.2 is not 0.91 % without being told so."""
    for k, name in enumerate(columns):
        given = values[~np.isnan(values[:, k]) & ~signed[:, k], k]
        if len(given) and given.max() <= 1 and (given > 0).any() and not signed[:, k].all():
            raise DataError(
                f"{cells.where}, column {name!r}: its numbers up to {given.max():g} look like shares, those of other"
                " columns like percentages",
                hint="Where all are percentages, say --scale percent; otherwise write them on one scale.",
                field=name,
            )


def to_shares(
    cells: Cells, columns: Sequence[str], *, models: Sequence[str], scale: str, hint: str
) -> NDArray[np.float64]:
    """Numbers of some columns as shares.

    Args:
        cells: The file.
        columns: Names of columns.
        models: Name of each row's model, for errors.
        scale: ``percent``, ``share``, or ``auto``: percent if any number is above 1 or has a percent sign.
        hint: What to do about a cell that is no number.

    Returns:
        [rows, columns] shares in 0..1; NaN where a cell is empty or says that there is no result.

    Raises:
        DataError: A model is named twice, a cell is no number or out of range, or a percent sign stands in a table of
            shares; with ``auto`` also where percentages are among numbers that look like shares.
    """
    _refuse_repeats(models, where=cells.where, what="model")
    values = np.full((len(cells.rows), len(columns)), np.nan)
    signed = np.zeros(values.shape, dtype=np.bool_)
    places = {name: at for at, name in enumerate(cells.header)}
    for k, name in enumerate(columns):
        at = places[name]
        for i, row in enumerate(cells.rows):
            text = row[at].removesuffix("%").strip()
            if text.lower() in _EMPTY:
                continue
            if not _NUMBER.fullmatch(text):
                raise DataError(
                    f"{cells.where}, line {cells.lines[i]}, column {name!r}: {row[at][:40]!r} is no number",
                    hint=hint,
                    field=name,
                )
            values[i, k] = float(text)
            signed[i, k] = row[at].endswith("%")
    found = values[~np.isnan(values)]
    percent = scale == "percent" or (scale == "auto" and bool((found > 1).any() or signed.any()))
    if not percent and signed.any():
        i, k = (int(index) for index in np.argwhere(signed)[0])
        raise DataError(
            f"{cells.where}, line {cells.lines[i]}, column {columns[k]!r}: a percentage in a table of shares",
            hint="Say --scale percent, or take the percent signs out.",
            field=columns[k],
        )
    if percent and scale == "auto":
        _refuse_two_scales(cells, columns, values, signed)
    most = 100.0 if percent else 1.0
    wrong = np.argwhere((values < 0) | (values > most))
    if len(wrong):
        i, k = (int(index) for index in wrong[0])
        raise DataError(
            f"{cells.where}, line {cells.lines[i]}, column {columns[k]!r}: {values[i, k]:g} is no accuracy"
            f" as a {'percentage' if percent else 'share'}",
            hint="Accuracies lie in 0..100 (--scale percent) or 0..1 (--scale share); leave other columns out with"
            " --skip.",
            field=columns[k],
        )
    return values / most
