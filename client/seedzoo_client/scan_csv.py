"""Find the examples that a CSV file names: ``path``, and where there are any, ``label``, a group and slices."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedzoo.errors import DataError, RequestError
from seedzoo_client.examples import Example, Scan, check_repeats, some_names, unreadable
from seedzoo_client.labels import shorten
from seedzoo_client.pairs_file import separator_hint
from seedzoo_client.quoting import quoted

__all__ = ["check_slice_columns", "scan_csv"]

_QUERIED = "seedzoo_probability"
"""Column of the files that `zoo label` writes."""
_RESERVED = ("path", "label")
_CLASS = "class"
_MOST_COLUMNS = 20
_MOST_VALUES = 1_000
_LONGEST_NAME = 200
_MOST_BYTES = 1 << 20
_FEW = 5


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a row everything stands."""

    path: int
    label: int | None
    group: int | None
    slices: tuple[int, ...]


def check_slice_columns(wanted: Sequence[str]) -> None:
    """Refuse names that cannot be those of slice columns.

    Raises:
        RequestError: Too many, one twice, too long, ``path`` or ``label``, or what is a class's name already.
    """
    if len(wanted) > _MOST_COLUMNS:
        raise _bad_slices(f"{len(wanted)} columns of slices are more than {_MOST_COLUMNS}", "Name fewer.")
    for name in wanted:
        if name.lower() in _RESERVED:
            raise _bad_slices(
                f"the column {quoted(name)} holds no slices",
                "A class is a slice already: class=NAME." if name.lower() == "label" else "Name another column.",
            )
        if _names_class(name) or name.lower() == _CLASS:
            raise _bad_slices(
                f"the column {quoted(name)} holds no slices: class=NAME stands for the task's classes",
                "Rename the column, for example into `kind`.",
            )
        if not 0 < len(name) <= _LONGEST_NAME:
            raise _bad_slices(
                f"a slice column's name has 1 to {_LONGEST_NAME} characters, not {len(name)}", "Rename the column."
            )
        if wanted.count(name) > 1:
            raise _bad_slices(f"the column {quoted(name)} is named twice for slices", "Name it once.")


def _names_class(text: str) -> bool:
    """Whether a requirement that says so means a class of the task."""
    return text.lower().startswith(f"{_CLASS}=")


def _bad_slices(message: str, hint: str) -> RequestError:
    return RequestError(message, hint=hint, field="slices")


def scan_csv(path: Path, *, unlabelled: bool, group: str | None, slices: Sequence[str]) -> Scan:
    """The examples of a CSV file, in its order.

    Args:
        path: The file.
        unlabelled: Labels decide nothing, so labels that were asked for may stand in it and none need be there.
        group: Column that says which images depend on each other, or None.
        slices: Columns that divide the images into slices.

    Raises:
        DataError: It cannot be read, or a row cannot be used; names the line.
    """
    examples: list[Example] = []
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header_line = file.readline()
            file.seek(0)
            # Spreadsheets in half of Europe write semicolons.
            delimiter = ";" if ";" in header_line and "," not in header_line else ","
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            names = [cell.strip() for cell in next(rows, [])]
            columns = _columns(path, names, header_line, group=group, slices=slices)
            if not unlabelled:
                _refuse_queried(path, names)
            for row in rows:
                line = rows.line_num
                if any(cell.strip() for cell in row):
                    examples.append(_example(row, columns, slices, folder=path.parent, where=f"{path}, line {line}"))
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", hint="Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path}, after line {line}: {error}") from error
    if not examples:
        raise DataError(f"{path} names no images", reason="DATA_EMPTY")
    _check_values(path, examples, slices)
    warnings = check_repeats(examples)
    if not unlabelled:
        warnings = (*warnings, *_doubtful_labels(examples, names, columns))
    return Scan(path, tuple(examples), warnings, tuple(slices))


def _columns(
    path: Path, names: Sequence[str], header_line: str, *, group: str | None, slices: Sequence[str]
) -> _Columns:
    header = [name.lower() for name in names]
    if header.count("path") != 1 or header.count("label") > 1:
        raise DataError(
            f"{path} must begin with the header path,label; it begins with {quoted(header_line.strip())}",
            hint=separator_hint(header_line) or "Images without label need the column path only.",
        )
    return _Columns(
        path=header.index("path"),
        label=header.index("label") if "label" in header else None,
        group=None if group is None else _column(names, group, path),
        slices=tuple(_column(names, wanted, path) for wanted in slices),
    )


def _column(names: Sequence[str], wanted: str, path: Path) -> int:
    if names.count(wanted) != 1:
        raise DataError(
            f"{path} has no column {quoted(wanted)}; it has {shorten(names)}"
            if wanted not in names
            else f"{path} has the column {quoted(wanted)} more than once",
            reason="COLUMN_UNKNOWN",
        )
    return names.index(wanted)


def _refuse_queried(path: Path, names: Sequence[str]) -> None:
    if _QUERIED in names:
        raise DataError(
            f"the labels of {path} were asked for by `zoo label` (column {_QUERIED}), so they are no random sample",
            hint=f"`zoo label --data … --budget N --from {path}` makes the report from them.",
            reason="LABELS_QUERIED",
        )


def _example(row: Sequence[str], columns: _Columns, slices: Sequence[str], *, folder: Path, where: str) -> Example:
    def cell(column: int) -> str:
        return row[column].strip() if column < len(row) else ""

    path = cell(columns.path)
    if not path:
        raise DataError(f"{where}: no path")
    group = None if columns.group is None else cell(columns.group)
    if group == "":
        raise DataError(f"{where}: no group", hint="Every row needs one; give lone images names of their own.")
    values = tuple(cell(column) for column in columns.slices)
    for name, value in zip(slices, values, strict=True):
        if not value:
            raise DataError(
                f"{where}: nothing in the column {quoted(name)}",
                hint="Every row needs a value; write for example `unknown`.",
                reason="SLICE_MISSING",
            )
        if _names_class(value):
            raise DataError(
                f"{where}: the value {quoted(value)} in the column {quoted(name)} is the name of a class",
                hint="class=NAME stands for the task's classes; write the value in another way.",
                reason="SLICE_INVALID",
            )
        if len(value) > _LONGEST_NAME:
            raise DataError(
                f"{where}: the value in the column {quoted(name)} has {len(value)} characters, "
                f"more than {_LONGEST_NAME}",
                hint="Shorten it.",
                reason="SLICE_INVALID",
            )
    label = "" if columns.label is None else cell(columns.label)
    return Example(folder / path, label or None, where, group, values)


def _check_values(path: Path, examples: Sequence[Example], slices: Sequence[str]) -> None:
    n_bytes = 0
    for number, name in enumerate(slices):
        values = {example.slices[number] for example in examples}
        n_bytes += sum(len(value.encode()) for value in values)
        if len(values) > _MOST_VALUES:
            raise DataError(
                f"{path} has {len(values):,} different values in the column {quoted(name)}, more than {_MOST_VALUES:,}",
                hint="Slices are for comparing parts of the data; a column with few values is needed.",
                reason="SLICE_INVALID",
            )
    if n_bytes > _MOST_BYTES:
        raise DataError(
            f"the names of all slices in {path} have {n_bytes:,} bytes, more than {_MOST_BYTES:,}",
            hint="Shorten them.",
            reason="SLICE_INVALID",
        )


def _doubtful_labels(examples: Sequence[Example], names: Sequence[str], columns: _Columns) -> Iterator[str]:
    """What looks like labels that were forgotten."""
    used = {columns.path, columns.group, *columns.slices}
    others = [name for position, name in enumerate(names) if position not in used and name]
    if columns.label is None and others:
        yield f"there is no column label; ignored: {shorten(others, _FEW)}"
    without = [example for example in examples if example.label is None]
    if 0 < len(without) <= _FEW and len(without) < len(examples) - len(without):
        lines = some_names([example.where.rpartition(", ")[2] for example in without])
        yield f"{'1 row has' if len(without) == 1 else f'{len(without)} rows have'} no label: {lines}"
