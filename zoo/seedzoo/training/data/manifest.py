"""The source ``manifest``: a CSV or Parquet table with the columns path, label, optionally split, and any others.

Paths start at ``data.root``, or at the manifest's folder, and may not leave it: neither through ``..`` nor as absolute
paths. (Links inside it may lead elsewhere: whoever manages the folder made them, whoever wrote the table did not.)
``split`` says ``train`` and ``val`` or ``test`` for each row; without it ``test_share`` is held out.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from seedzoo.errors import DataError, RecipeError
from seedzoo.records import FileEntry
from seedzoo.training.data.listing import ListedImage, declared_classes, image_data, sorted_classes
from seedzoo.training.data.record import ImageData
from seedzoo.training.recipe import DataSection

__all__ = ["ManifestRow", "load_manifest", "read_manifest"]

_TRAIN, _TEST_NAMES = "train", ("val", "test")
_NAMES = ("manifest.csv", "manifest.parquet")
_NOT_GIVEN = "not given"


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One row, as text."""

    path: str
    """Normal form: forward slashes, no ``.`` or ``..``."""
    label: str
    split: str
    """Empty where the table has no such column."""
    slices: Mapping[str, str]


def load_manifest(section: DataSection, base: Path) -> ImageData:
    """Images that a table lists; see :func:`seedzoo.training.data.load_data`."""
    path = _manifest_path(base / section.path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read the manifest {path}: {error.strerror}",
            hint="Name a CSV or Parquet file: [data] path in the recipe.",
            reason="TRAINING_DATA_MISSING",
        ) from error
    rows = read_manifest(raw, where=str(path), parquet=path.suffix.lower() == ".parquet", slices=section.slices)
    root = base / section.root if section.root else path.parent
    test_name = _test_name(section, rows, str(path))
    splits = {_TRAIN, test_name} if test_name else {""}
    used = [row for row in rows if row.split in splits]
    declared = declared_classes(section, base)
    classes = declared or sorted_classes(row.label for row in used)
    known = frozenset(classes)
    for number, row in enumerate(rows, start=1):
        if row.label not in known and row.split in splits:
            near = difflib.get_close_matches(row.label, classes, n=1)
            raise DataError(
                f"{path}, row {number}: the label {row.label!r} is not among the classes of the recipe",
                hint=f"Did you mean {near[0]}?" if near else "Add it to data.classes, or leave the row out.",
                reason="CLASS_UNKNOWN",
            )
    images = _listed(used, root=root, test_name=test_name, where=path)
    entry = FileEntry(path=path.name, size=len(raw), sha256=hashlib.sha256(raw).hexdigest())
    return image_data(section, images, classes=classes, root=root, files=(entry,))


def read_manifest(raw: bytes, *, where: str, parquet: bool = False, slices: tuple[str, ...] = ()) -> list[ManifestRow]:
    """Parse a manifest; every value is taken as text.

    Args:
        raw: The file.
        where: Names it in errors.
        parquet: Parquet rather than CSV.
        slices: Further columns to keep; a value that is not given reads ``not given``.

    Raises:
        DataError: It cannot be parsed, a column is missing, or a row has no path or label, a path that leaves the
            root, or one that an earlier row has.
    """
    table = _table(raw, where, parquet=parquet)
    for column in ("path", "label", *slices):
        found = table.column_names.count(column)
        if found != 1:
            near = difflib.get_close_matches(column, table.column_names, n=1)
            raise DataError(
                f"{where} has {'no' if found == 0 else 'more than one'} column {column!r}",
                hint=f"Did you mean {near[0]}?" if near else f"Its columns: {', '.join(table.column_names)}.",
                reason="MANIFEST_MALFORMED",
            )
    wanted = ["path", "label", *(["split"] if "split" in table.column_names else []), *slices]
    columns = {name: _as_text(table, name, where) for name in wanted}
    splits = columns.get("split", [""] * table.num_rows)
    rows: list[ManifestRow] = []
    first_row: dict[str, int] = {}
    for index in range(table.num_rows):
        number = index + 1
        label = columns["label"][index].strip()
        if not label:
            raise _faulty(where, number, "has no label")
        path = _normal_path(columns["path"][index], where, number)
        if path in first_row:
            raise _faulty(where, number, f"names {path}, as row {first_row[path]} does")
        first_row[path] = number
        split = splits[index].strip()
        if "split" in columns and not split:
            raise _faulty(where, number, "has no split")
        values = {column: columns[column][index].strip() or _NOT_GIVEN for column in slices}
        rows.append(ManifestRow(path=path, label=label, split=split, slices=values))
    if not rows:
        raise DataError(f"{where} has no rows", reason="MANIFEST_MALFORMED")
    return rows


def _manifest_path(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = [path / name for name in _NAMES if (path / name).is_file()]
    if len(found) != 1:
        raise DataError(
            f"{path} holds {'both' if found else 'neither'} {(' and ' if found else ' nor ').join(_NAMES)}",
            hint="Name the file itself: [data] path in the recipe.",
            reason="TRAINING_DATA_MISSING",
        )
    return found[0]


def _table(raw: bytes, where: str, *, parquet: bool) -> pa.Table:
    try:
        if parquet:
            return pyarrow.parquet.read_table(io.BytesIO(raw))
        with pyarrow.csv.open_csv(io.BytesIO(raw)) as reader:
            names = reader.schema.names
        # Guessed types would turn the label 007 into 7 and a class called NA into nothing.
        options = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[]
        )
        return pyarrow.csv.read_csv(
            io.BytesIO(raw),
            convert_options=options,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = "Parquet" if parquet else "CSV"
        raise DataError(
            f"{where} is not a whole {kind} table: {str(error).splitlines()[0]}",
            hint="Wanted are the columns path and label, and optionally split and others.",
            reason="MANIFEST_MALFORMED",
        ) from error


def _as_text(table: pa.Table, column: str, where: str) -> list[str]:
    values = table.column(column)
    try:
        texts: list[str | None] = values.cast(pa.string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(
            f"{where}: the column {column!r} ({values.type}) cannot be read as text", reason="MANIFEST_MALFORMED"
        ) from error
    return [text or "" for text in texts]


def _normal_path(text: str, where: str, number: int) -> str:
    if not text.strip():
        raise _faulty(where, number, "has no path")
    if "\0" in text:
        raise _faulty(where, number, "has a path with a zero byte")
    path = posixpath.normpath(text.strip())
    if path in (".", "..") or path.startswith(("/", "../")):
        raise DataError(
            f"{where}, row {number}: the path {text} does not stay in the root",
            hint="Paths are relative to data.root (the manifest's folder unless stated); it may name a folder above.",
            reason="PATH_OUTSIDE_ROOT",
        )
    return path


def _faulty(where: str, number: int, what: str) -> DataError:
    return DataError(f"{where}, row {number} {what}", hint="Mend or remove the row.", reason="MANIFEST_MALFORMED")


def _test_name(section: DataSection, rows: list[ManifestRow], where: str) -> str:
    """The split value of the test set; empty where the table has no splits."""
    values = sorted({row.split for row in rows})
    if values == [""]:
        if section.test_name:
            raise RecipeError(
                f"data.test_name is of no use: {where} has no column split",
                hint="Leave it out.",
                field="data.test_name",
            )
        return ""
    known = {_TRAIN, *_TEST_NAMES, section.test_name or _TRAIN}
    for number, row in enumerate(rows, start=1):
        if row.split not in known:
            raise _faulty(where, number, f"has the split {row.split!r}; known are train, val and test")
    found = [name for name in _TEST_NAMES if name in values]
    name = section.test_name or (found[0] if found else "test")
    if len(found) == 2 and not section.test_name:
        raise RecipeError(
            f"{where} has the splits val and test: data.test_name must say which one is the held-out test set",
            hint='For example test_name = "test".',
            field="data.test_name",
        )
    for needed in (_TRAIN, name):
        if needed not in values:
            raise DataError(f"{where} has no row of the split {needed!r}", reason="MANIFEST_MALFORMED")
    return name


def _listed(rows: list[ManifestRow], *, root: Path, test_name: str, where: Path) -> list[ListedImage]:
    images: list[ListedImage] = []
    missing: list[str] = []
    for row in rows:
        path = root / row.path
        try:
            size = os.stat(path).st_size  # noqa: PTH116  (a million of them: pathlib costs as much again)
        except (OSError, ValueError):
            missing.append(row.path)
            continue
        in_test = row.split == test_name if test_name else None
        images.append(ListedImage(path=path, label=row.label, size=size, in_test=in_test, slices=row.slices))
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} images that {where} lists are not in {root}, the first: {missing[0]}",
            hint="Paths are relative to data.root, or to the manifest's folder.",
            reason="ITEM_UNREADABLE",
        )
    return images
