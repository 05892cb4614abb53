"""Sets that a CSV or Parquet manifest describes: ``path``, ``label`` and columns of slices."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from seedzoo.errors import DataError, MissingExtra
from seedzoo.stress.natural.assemble import Found
from seedzoo.stress.natural.disk import many, some
from seedzoo.stress.natural.folders import Labels
from seedzoo.stress.natural.set_file import SetFile, nearest
from seedzoo.stress.natural.vocabulary import TaskClasses

__all__ = ["MANIFESTS", "find_manifest"]

MANIFESTS = frozenset({".csv", ".parquet"})
_RESERVED = ("path", "label")
_MOST_VALUES = 50


@dataclass(frozen=True)
class _Table:
    columns: dict[str, list[str]]
    lines: list[int]
    """Where each row stands: its line in the CSV file, or its number from 1."""


def find_manifest(given: SetFile, path: Path, classes: TaskClasses) -> tuple[Found, Path]:
    """The images that a manifest names; paths in it are relative to its folder.

    Returns:
        What was found, and the manifest's folder.

    Raises:
        DataError: It cannot be read, a column is missing, a row has no path or no label that is known, names an image
            that does not exist, or names one twice.
        MissingExtra: A Parquet file, and pyarrow is not installed.
    """
    table = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    for column in _RESERVED:
        if column not in table.columns:
            raise DataError(
                f"{path} has no column {column}",
                hint=f"Its columns are: {', '.join(table.columns)}.",
                reason="MANIFEST_INVALID",
                field=column,
            )
    labels = Labels(given, classes)
    found = Found(mapped=labels.mapped)
    rows = _usable_rows(table, labels, given, path, found)
    if given.scene_column:
        scene_of = _column(table, given.scene_column, path, "scene_column")
        numbers = {value: number for number, value in enumerate(dict.fromkeys(scene_of[row] for row in rows))}
        # A scene's images stand together, so that they can be counted in one block.
        order = sorted(range(len(rows)), key=lambda place: numbers[scene_of[rows[place]]])
        rows = [rows[place] for place in order]
        found.accepted = [found.accepted[place] for place in order]
        found.scenes = [numbers[scene_of[row]] for row in rows]
    found.paths = [path.parent / table.columns["path"][row] for row in rows]
    _check_images(found.paths, [table.lines[row] for row in rows], path)
    found.columns, notes = _slice_columns(table, rows, given, path)
    found.notes += notes
    present = {table.columns["label"][row] for row in rows}
    missing = [name for name in labels.expected if name not in present]
    if missing:
        said = f"no image of {many(len(missing), 'label')}: {some(missing)}"
        if given.complete:
            raise DataError(f"{path}: {said}", reason="CLASS_WITHOUT_IMAGES")
        found.notes.append(said)
    return found, path.parent


def _usable_rows(table: _Table, labels: Labels, given: SetFile, path: Path, found: Found) -> list[int]:
    rows: list[int] = []
    left_out: list[str] = []
    for row, (name, label) in enumerate(zip(table.columns["path"], table.columns["label"], strict=True)):
        where = f"{path}, line {table.lines[row]}"
        if not name or not label:
            raise DataError(f"{where}: no {'label' if name else 'path'}", reason="MANIFEST_INVALID")
        accepted = labels.accepted(label)
        if accepted is None and not given.ignore_unmapped:
            raise DataError(
                f"{where}: {label!r} is {'neither in the label map nor ' if labels.map else 'not '}a class of the task",
                hint=f"{nearest(label, labels.known)} Such rows can be left out: ignore_unmapped=true.",
                reason="LABEL_UNKNOWN",
                field="label",
            )
        if accepted:
            rows.append(row)
            found.accepted.append(accepted)
        else:
            left_out.append(label)
    if left_out:
        distinct = list(dict.fromkeys(left_out))
        found.notes.append(
            f"left out: {many(len(left_out), 'image')} with {many(len(distinct), 'label')} of none of the task's "
            f"classes: {some(distinct)}"
        )
    return rows


def _check_images(images: list[Path], lines: list[int], path: Path) -> None:
    seen: dict[Path, int] = {}
    for image, line in zip(images, lines, strict=True):
        if image in seen:
            raise DataError(
                f"{path}: lines {seen[image]} and {line} name the same image, {image.name}",
                hint="Keep one of them.",
                reason="DATA_DUPLICATE",
            )
        seen[image] = line
        if not image.is_file() and not image.is_symlink():
            raise DataError(
                f"{path}, line {line}: there is no image {image}",
                hint="Paths in a manifest are relative to the manifest's folder.",
                reason="DATA_MISSING",
            )


def _slice_columns(
    table: _Table, rows: list[int], given: SetFile, path: Path
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    if given.slices is not None:
        return {name: tuple(_column(table, name, path, "slices")[row] for row in rows) for name in given.slices}, []
    columns, notes = {}, []
    for name, values in table.columns.items():
        if name in _RESERVED or name == given.scene_column:
            continue
        used = tuple(values[row] for row in rows)
        if len(set(used)) > _MOST_VALUES:
            notes.append(
                f'the column {name} has {len(set(used)):,} values and forms no slices; slices = ["{name}"] makes it'
            )
        else:
            columns[name] = used
    return columns, notes


def _column(table: _Table, name: str, path: Path, key: str) -> list[str]:
    if name in _RESERVED or name not in table.columns:
        usable = [column for column in table.columns if column not in _RESERVED]
        raise DataError(
            f"{path} has no column {name!r} for {key}",
            hint=nearest(name, usable) if usable else "It has only path and label.",
            reason="MANIFEST_INVALID",
            field=key,
        )
    return table.columns[name]


def _csv(path: Path) -> _Table:
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            # Spreadsheets in half of Europe write semicolons.
            rows = csv.reader(file, delimiter=";" if ";" in first and "," not in first else ",", strict=True)
            names = [cell.strip() for cell in next(rows, [])]
            _check_names(names, path)
            columns: list[list[str]] = [[] for _ in names]
            lines = []
            for row in rows:
                line = rows.line_num
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(names):
                    raise DataError(
                        f"{path}, line {line}: {len(row)} cells, and there are {len(names)} columns",
                        reason="MANIFEST_INVALID",
                    )
                lines.append(line)
                for column, cell in zip(columns, row, strict=True):
                    column.append(cell.strip())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", reason="MANIFEST_INVALID") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", hint="Save it in UTF-8.", reason="MANIFEST_INVALID") from error
    except csv.Error as error:
        raise DataError(f"{path}, after line {line}: {error}", reason="MANIFEST_INVALID") from error
    return _Table(dict(zip(names, columns, strict=True)), lines)


def _parquet(path: Path) -> _Table:
    try:
        import pyarrow as pa  # noqa: PLC0415 - a folder needs no pyarrow
        import pyarrow.compute as pc  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{path} needs pyarrow, which is not installed", hint="pip install 'seedzoo[local]', or use CSV."
        ) from error
    try:
        read = pq.read_table(path)
        _check_names(read.column_names, path)
        columns = {
            name: ["" if value is None else str(value) for value in pc.cast(read.column(name), pa.string()).to_pylist()]
            for name in read.column_names
        }
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path} as Parquet: {error}", reason="MANIFEST_INVALID") from error
    return _Table(columns, list(range(1, read.num_rows + 1)))


def _check_names(names: list[str], path: Path) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice or "" in names:
        raise DataError(
            f"{path}: {f'two columns are called {twice[0]}' if twice and twice[0] else 'a column has no name'}",
            reason="MANIFEST_INVALID",
        )
