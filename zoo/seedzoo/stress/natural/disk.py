"""Which image files lie below a folder, and what is probably meant where nothing fits."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from seedzoo.errors import DataError

__all__ = ["Scanned", "elsewhere", "many", "scan", "set_folder", "some"]

_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".tga"],
)
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_FEW = 3


@dataclass
class Scanned:
    """Files below a folder, in the order of their paths.

    Attributes:
        folders: First folder of the path below the root -> its images, also those in deeper folders; a folder
            without images is there with none.
        loose: Images that lie directly in the root.
        others: Files inside the folders that are no images by their suffix.
        doubles: Images that are links to the same file as another one.
    """

    folders: dict[str, list[Path]] = field(default_factory=dict)
    loose: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    doubles: list[Path] = field(default_factory=list)

    @property
    def images(self) -> list[Path]:
        """All images."""
        return [*self.loose, *(path for paths in self.folders.values() for path in paths)]


def scan(root: Path) -> Scanned:
    """List the images below a folder; links are followed, what begins with a dot is passed over.

    A link that leads nowhere counts as an image, so that reading it names it.

    Raises:
        DataError: A folder cannot be read, or links lead in a circle.
    """
    found = Scanned()
    for entry in _entries(root):
        path = root / entry.name
        if entry.is_dir():
            paths: list[Path] = []
            _collect(path, paths, found.others, (os.path.realpath(root),))
            found.folders[entry.name] = paths
        elif path.suffix.lower() in _SUFFIXES:
            found.loose.append(path)
    seen: set[str] = set()
    linked = [path for path in found.images if path.is_symlink()]
    if linked:
        targets = {os.path.realpath(path): None for path in found.images if not path.is_symlink()}
        for path in linked:
            real = os.path.realpath(path)
            if real in targets or real in seen:
                found.doubles.append(path)
            seen.add(real)
    return found


def _collect(folder: Path, images: list[Path], others: list[Path], above: tuple[str, ...]) -> None:
    real = os.path.realpath(folder)
    if real in above:
        raise DataError(
            f"{folder} is a link to a folder that it lies in", hint="Remove the link.", reason="DATA_UNREADABLE"
        )
    for entry in _entries(folder):
        path = folder / entry.name
        if entry.is_dir():
            _collect(path, images, others, (*above, real))
        elif path.suffix.lower() in _SUFFIXES:
            images.append(path)
        else:
            others.append(path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            seen = [entry for entry in listing if not entry.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}", reason="DATA_UNREADABLE") from error
    return sorted(seen, key=lambda entry: entry.name)


def set_folder(path: Path, subfolders: Iterable[str], *, labels: Collection[str] = ()) -> Path:
    """The folder that holds a set's labels: the path, or the first of the subfolders that exists.

    Args:
        path: What the user gave.
        subfolders: Where the published archives put it.
        labels: Names of the set's folders. A path that holds one of them is meant itself.

    Raises:
        DataError: There is no such folder; the message says what is near.
    """
    if not path.exists():
        parent = path.absolute().parent
        siblings = [item.name for item in parent.iterdir()] if parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=1)
        raise DataError(
            f"{path} does not exist",
            hint=f"Did you mean {path.parent / near[0]}?" if near else f"There is {_existing(path)}.",
            reason="DATA_MISSING",
        )
    if not path.is_dir():
        archive = path.name.lower().endswith(_ARCHIVES)
        raise DataError(
            f"{path} is not a folder",
            hint="Unpack it first." if archive else "Name the folder that holds the images.",
            reason="DATA_MISSING",
        )
    if any((path / label).is_dir() for label in labels):
        return path
    return next((path / name for name in subfolders if (path / name).is_dir()), path)


def _existing(path: Path) -> Path:
    return next(above for above in path.absolute().parents if above.exists())


def elsewhere(root: Path, labels: Collection[str]) -> str:
    """A hint where folders of these names lie instead: one above or one below; empty where nowhere near."""
    wanted = set(labels)
    if root.absolute().name in wanted:
        return f"Did you mean {root.parent}, whose folders are the labels?"
    for entry in _entries(root):
        if entry.is_dir() and any(inner.is_dir() and inner.name in wanted for inner in _entries(root / entry.name)):
            return f"Did you mean {root / entry.name}?"
    return ""


def some(items: Iterable[object]) -> str:
    """The first few of them for a message, and how many more there are."""
    listed = [str(item) for item in items]
    more = f" and {len(listed) - _FEW:,} more" if len(listed) > _FEW else ""
    return ", ".join(listed[:_FEW]) + more


def many(number: int, noun: str, plural: str = "") -> str:
    """``1 image`` or ``3,000 images``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
