"""Find the examples that a folder or CSV file names, without opening a single image.

A folder holds one folder per class; deeper folders below a class are allowed. A CSV file has the columns ``path`` and
``label``; paths are relative to it. What is no image is an error that names it, except hidden files and READMEs:
leaving out silently what a user meant to count would change the answer.
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seedzoo.errors import DataError
from seedzoo_client.labels import shorten

__all__ = ["Example", "Scan", "check_files", "scan_data", "some_names"]

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png", ".pnm", ".ppm"}
    | {".tga", ".tif", ".tiff", ".webp"}
)
_MAGIC = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF", b"\x00\x00\x00\x0cjP  ")
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Example:
    """One image and what the user calls it."""

    path: Path
    label: str | None
    where: str = ""
    """Place of a CSV row, for messages."""
    group: str | None = None
    """Images of one group depend on each other."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found."""

    source: Path
    examples: tuple[Example, ...]
    warnings: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The user's class names, in order of appearance."""
        return tuple(dict.fromkeys(example.label for example in self.examples if example.label is not None))


def some_names(paths: Sequence[object]) -> str:
    """Up to five of them, and how many more."""
    return shorten([str(path) for path in paths], _NAMED)


def scan_data(source: str | os.PathLike[str], *, unlabelled: bool = False, group: str | None = None) -> Scan:
    """Find the examples of a class folder or CSV file, in an order that depends on names only.

    Args:
        source: The folder, the CSV file, or, where ``unlabelled``, one image.
        unlabelled: Also take images that have no label.
        group: Column of the CSV file that says which images depend on each other (patient, video).

    Raises:
        DataError: Nothing is there, or something that cannot be used; names it.
    """
    path = Path(source)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise DataError(f"{str(source)!r} is no file name: {error}") from error
    if group is not None and path.suffix.lower() != ".csv":
        raise DataError(
            f"{path} has no column {group!r}: only a CSV file has columns",
            hint="Give a CSV file with path,label and that column.",
            reason="COLUMN_UNKNOWN",
        )
    if stat.S_ISDIR(mode):
        scan = _scan_folder(path, unlabelled=unlabelled)
    elif path.suffix.lower() == ".csv":
        scan = _scan_csv(path, unlabelled=unlabelled, group=group)
    elif unlabelled and _looks_like_image(path):
        scan = Scan(path, (Example(path, None),))
    else:
        raise DataError(
            f"{path} is neither a folder nor a CSV file",
            hint="Give a folder with one folder per class, or a CSV file with the columns path,label.",
        )
    check_files(scan.examples)
    return scan


def _scan_folder(root: Path, *, unlabelled: bool) -> Scan:
    loose: list[Path] = []
    examples: list[Example] = []
    folders = 0
    for entry in _entries(root):
        if _is_folder(entry):
            folders += 1
            files = list(_walk(Path(entry), ancestors=(_identity(root),)))
            examples += [Example(path, entry.name) for path in files]
        elif Path(entry).suffix.lower() in IMAGE_SUFFIXES:
            loose.append(Path(entry))
    if unlabelled:
        examples += [Example(path, None) for path in loose]
    elif loose and not examples:
        raise DataError(
            f"{root} has images but no class folders (first: {loose[0].name}), so they have no labels",
            hint="Put them into one folder per class, or give a CSV file with the columns path,label.",
            reason="LABELS_MISSING",
        )
    elif loose:
        raise DataError(
            f"{len(loose)} image{'s' * (len(loose) > 1)} in {root} lie outside the class folders: {some_names(loose)}",
            hint="Move them into a class folder or elsewhere.",
            reason="LABELS_MISSING",
        )
    if not examples:
        found = f"has {folders} folders but no image" if folders else "is empty"
        raise DataError(f"{root} {found}", hint="Put images into one folder per class.", reason="DATA_EMPTY")
    return Scan(root, tuple(examples))


def _walk(folder: Path, *, ancestors: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    here = _identity(folder)
    if here in ancestors:
        raise DataError(f"{folder} is a link to a folder above itself", hint="Remove the link.")
    for entry in _entries(folder):
        path = Path(entry)
        if _is_folder(entry):
            yield from _walk(path, ancestors=(*ancestors, here))
        elif path.suffix.lower() in IMAGE_SUFFIXES or _looks_like_image(path):
            yield path
        elif not path.name.lower().startswith("readme"):
            check_files([Example(path, None)])
            raise DataError(
                f"{path} is no image",
                hint="Remove it from the class folder, or name the images in a CSV file with path,label.",
                reason="NOT_AN_IMAGE",
            )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted((entry for entry in entries if entry.name.lower() not in _CLUTTER), key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link in a circle: the check of the files says what is wrong with it.
        return False


def _identity(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from error
    return found.st_dev, found.st_ino


def _looks_like_image(path: Path) -> bool:
    try:
        # Opening a named pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return head.startswith(_MAGIC)


def _scan_csv(path: Path, *, unlabelled: bool, group: str | None) -> Scan:
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
            header = [name.lower() for name in names]
            needed = ("path",) if unlabelled and "label" not in header else ("path", "label")
            if not all(header.count(name) == 1 for name in needed):
                raise DataError(
                    f"{path} must begin with the header path,label; it begins with {header_line.strip()[:80]!r}"
                )
            columns = [header.index(name) for name in needed]
            group_column = _column(names, group, path)
            for row in rows:
                line = rows.line_num
                if any(cell.strip() for cell in row):
                    where = f"{path}, line {line}"
                    example = _example(row, columns, folder=path.parent, where=where, unlabelled=unlabelled)
                    if group_column is not None:
                        example = replace(example, group=_group(row, group_column, where))
                    examples.append(example)
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", hint="Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path}, after line {line}: {error}") from error
    if not examples:
        raise DataError(f"{path} names no images", reason="DATA_EMPTY")
    return Scan(path, tuple(examples), _check_repeats(examples))


def _column(names: Sequence[str], wanted: str | None, path: Path) -> int | None:
    if wanted is None:
        return None
    if names.count(wanted) != 1:
        raise DataError(
            f"{path} has no column {wanted!r}; it has {', '.join(names)}"
            if wanted not in names
            else f"{path} has the column {wanted!r} more than once",
            reason="COLUMN_UNKNOWN",
        )
    return names.index(wanted)


def _group(row: Sequence[str], column: int, where: str) -> str:
    value = row[column].strip() if column < len(row) else ""
    if not value:
        raise DataError(f"{where}: no group", hint="Every row needs one; give lone images names of their own.")
    return value


def _example(row: Sequence[str], columns: Sequence[int], *, folder: Path, where: str, unlabelled: bool) -> Example:
    cells = [row[column].strip() if column < len(row) else "" for column in columns]
    label = cells[1] if len(cells) > 1 else ""
    if not cells[0]:
        raise DataError(f"{where}: no path")
    if not label and not unlabelled:
        raise DataError(
            f"{where}: {cells[0]} has no label", hint="Every row needs path and label.", reason="LABELS_MISSING"
        )
    return Example(folder / cells[0], label or None, where)


def _check_repeats(examples: Sequence[Example]) -> tuple[str, ...]:
    first: dict[str, Example] = {}
    folders: dict[Path, str] = {}
    repeats = 0
    for example in examples:
        earlier = first.setdefault(_real(example.path, folders), example)
        if earlier is not example:
            repeats += 1
            if earlier.label != example.label:
                raise DataError(
                    f"{example.where}: {example.path} is {example.label!r} here and {earlier.label!r} before "
                    f"({earlier.where.rpartition(', ')[2]})",
                    hint="Correct one of the rows.",
                    reason="LABELS_CONTRADICT",
                )
    if not repeats:
        return ()
    rows = "1 row repeats" if repeats == 1 else f"{repeats} rows repeat"
    return (f"{rows} an earlier path; the intervals count such an image once",)


def _real(path: Path, folders: dict[Path, str]) -> str:
    """One name for all spellings of a path; ``folders`` remembers those of its folders."""
    try:
        if path.name == ".." or path.is_symlink():
            return os.path.realpath(path)
        if path.parent not in folders:
            folders[path.parent] = os.path.realpath(path.parent)
    except (OSError, ValueError):
        # No path at all: the check of the files says so.
        return str(path)
    return os.path.join(folders[path.parent], path.name)  # noqa: PTH118 - many thousands of them


def check_files(examples: Sequence[Example]) -> None:
    """Check that every example is a regular file with something in it.

    Raises:
        DataError: One is not; names it.
    """
    empty: list[Path] = []
    for example in examples:
        lead = f"{example.where}: " if example.where else ""
        try:
            found = example.path.stat()
        except FileNotFoundError as error:
            broken = "is a link to nothing" if example.path.is_symlink() else "does not exist"
            hint = "Paths are relative to the CSV file." if example.where else ""
            raise DataError(f"{lead}{example.path} {broken}", hint=hint, reason="FILE_MISSING") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{lead}cannot read {example.path}: {_why(error)}", reason="FILE_UNREADABLE") from error
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise DataError(f"{lead}{example.path} is {kind}", reason="NOT_AN_IMAGE")
        if found.st_size == 0:
            empty.append(example.path)
    if empty:
        count = "one file is" if len(empty) == 1 else f"{len(empty)} files are"
        raise DataError(
            f"{count} empty (zero bytes): {some_names(empty)}",
            hint="Copy the images again, or remove them.",
            reason="FILE_EMPTY",
        )


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist", hint="Check the spelling of --data.", reason="DATA_MISSING")
    return DataError(f"cannot read {path}: {_why(error)}", hint="Check its permissions.", reason="FILE_UNREADABLE")


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
