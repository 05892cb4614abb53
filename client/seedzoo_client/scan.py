"""Find the examples that a folder or CSV file names, without opening a single image.

A folder holds one folder per class; deeper folders below a class are allowed. Images that lie beside the class folders,
or in a folder without any, have no label. A CSV file has the column ``path``, and ``label`` where there are labels;
paths are relative to it. What is no image is an error that names it, except hidden files and READMEs: leaving out
silently what a user meant to count would change the answer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from seedzoo.errors import DataError, RequestError
from seedzoo_client.examples import Example, Scan, check_files, some_names, unreadable
from seedzoo_client.quoting import quoted
from seedzoo_client.scan_csv import check_slice_columns, scan_csv

__all__ = ["Example", "Scan", "check_files", "scan_data", "some_names"]

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png", ".pnm", ".ppm"}
    | {".tga", ".tif", ".tiff", ".webp"}
)
_MAGIC = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF", b"\x00\x00\x00\x0cjP  ")
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_FEW = 5


def scan_data(
    source: str | os.PathLike[str],
    *,
    unlabelled: bool = False,
    group: str | None = None,
    slices: Sequence[str] = (),
) -> Scan:
    """Find the examples of a folder or CSV file, in an order that depends on names only.

    Args:
        source: The folder, the CSV file, or, where ``unlabelled``, one image.
        unlabelled: Labels decide nothing: nothing is said of images without, and any labels may stand in a CSV file.
        group: Column of the CSV file that says which images depend on each other (patient, video).
        slices: Columns of the CSV file that divide the images into slices (camera, hospital).

    Raises:
        DataError: Nothing is there, or something that cannot be used; names it.
        RequestError: ``source`` is empty, or ``slices`` names what cannot be a column of slices.
    """
    if not os.fspath(source):
        raise RequestError(
            "the path of the data is empty", hint="Name a folder or CSV file; the current folder is `.`.", field="data"
        )
    path = Path(source)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise DataError(f"{str(source)!r} is no file name: {error}") from error
    check_slice_columns(slices)
    columns = [*([] if group is None else [group]), *slices]
    if columns and path.suffix.lower() != ".csv":
        raise DataError(
            f"{path} has no column {quoted(columns[0])}: only a CSV file has columns",
            hint="Give a CSV file with path,label and that column.",
            reason="COLUMN_UNKNOWN",
        )
    if stat.S_ISDIR(mode):
        scan = _scan_folder(path, unlabelled=unlabelled)
    elif path.suffix.lower() == ".csv":
        scan = scan_csv(path, unlabelled=unlabelled, group=group, slices=slices)
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
    tables: list[str] = []
    examples: list[Example] = []
    folders = 0
    for entry in _entries(root):
        path = Path(entry)
        suffix = path.suffix.lower()
        if _is_folder(entry):
            folders += 1
            files = list(_walk(path, ancestors=(_identity(root),)))
            examples += [Example(file, entry.name) for file in files]
        elif suffix in IMAGE_SUFFIXES or (not suffix and _looks_like_image(path)):
            loose.append(path)
        elif suffix == ".csv":
            tables.append(entry.name)
    if not examples and not loose:
        found = f"has {folders} folders but no image" if folders else "is empty"
        raise DataError(
            f"{root} {found}",
            hint="Put images into one folder per class, or directly into the folder where they have no labels.",
            reason="DATA_EMPTY",
        )
    warnings: list[str] = []
    if not unlabelled and examples and 0 < len(loose) <= _FEW:
        lie, count = ("1 image lies", "counts") if len(loose) == 1 else (f"{len(loose)} images lie", "count")
        warnings.append(f"{lie} beside the class folders and {count} as unlabelled: {some_names(loose)}")
    if not unlabelled and not examples and tables:
        warnings.append(f"{some_names(tables)} in {root} is not read; if it holds the labels, give it as --data")
    return Scan(root, (*examples, *(Example(path, None) for path in loose)), tuple(warnings))


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
        raise unreadable(folder, error) from error
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
        raise unreadable(folder, error) from error
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
