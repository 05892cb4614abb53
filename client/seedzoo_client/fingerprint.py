"""Hash the images once, so that a repeated upload finds what is already there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedzoo.errors import DataError
from seedzoo_client.datasets import LocalDataset, SliceColumn
from seedzoo_client.scan import some_names

__all__ = [
    "HashedItem",
    "changed_error",
    "contradictions",
    "dataset_fingerprint",
    "hash_items",
    "item_bytes",
    "read_error",
]

_BLOCK = 1 << 20
_TELL_SECONDS = 0.05
# Files that download tools leave in place of an image; a decoder's message would not say what happened.
_IMPOSTORS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the image", "Run `git lfs pull`."),
    (b"<!doctype html", "is an HTML page, not an image", "Download it again; the server sent a page instead."),
    (b"<html", "is an HTML page, not an image", "Download it again; the server sent a page instead."),
)


@dataclass(frozen=True, slots=True)
class HashedItem:
    """An image as it was when it was hashed."""

    path: Path
    label: int | None
    sha256: bytes
    size: int
    group: int | None = None
    slices: tuple[int, ...] = ()


def hash_items(dataset: LocalDataset, *, progress: Callable[[int], None]) -> tuple[HashedItem, ...]:
    """Hash every image, one block in memory at a time.

    Args:
        dataset: The images.
        progress: Called with the number of images done, a few times a second and at the end.

    Raises:
        DataError: A file cannot be read, has become empty, or is a web page or pointer in an image's place.
    """
    found: list[HashedItem] = []
    told = 0.0
    for item in dataset.items:
        digest, size = _hash_file(item.path)
        found.append(HashedItem(item.path, item.label, digest, size, item.group, item.slices))
        # Telling somebody in another thread takes longer than hashing a small image.
        if time.monotonic() - told >= _TELL_SECONDS or len(found) == len(dataset.items):
            progress(len(found))
            told = time.monotonic()
    return tuple(found)


def _hash_file(path: Path) -> tuple[bytes, int]:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                if size == 0:
                    _refuse_impostor(path, block)
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise read_error(path, error) from error
    if size == 0:
        raise DataError(f"{path} is empty (zero bytes)", hint="Copy it again, or remove it.", reason="FILE_EMPTY")
    return digest.digest(), size


def _refuse_impostor(path: Path, head: bytes) -> None:
    start = head[:64].lstrip().lower()
    for prefix, what, hint in _IMPOSTORS:
        if start.startswith(prefix):
            raise DataError(f"{path} {what}", hint=hint, reason="NOT_AN_IMAGE")


def read_error(path: Path, error: OSError) -> DataError:
    """The error for a file that the operating system does not give out."""
    return DataError(
        f"cannot read {path}: {error.strerror or error}", hint="Check its permissions.", reason="FILE_UNREADABLE"
    )


def item_bytes(item: HashedItem, *, doing: str) -> bytes:
    """The file's bytes, which are what was hashed.

    Args:
        item: Which file.
        doing: What is being done with it, for the error.

    Raises:
        DataError: It cannot be read, or has changed.
    """
    try:
        with item.path.open("rb") as file:
            content = file.read(item.size + 1)
    except OSError as error:
        raise read_error(item.path, error) from error
    if hashlib.sha256(content).digest() != item.sha256:
        raise changed_error(item, doing=doing)
    return content


def changed_error(item: HashedItem, *, doing: str) -> DataError:
    """The error for a file that is not what was hashed any more."""
    return DataError(
        f"{item.path} changed while it was being {doing}",
        hint="Run the command again when nothing writes there.",
        reason="FILE_CHANGED",
    )


def dataset_fingerprint(
    classes: Sequence[str], items: Sequence[HashedItem], slice_columns: Sequence[SliceColumn] = ()
) -> str:
    """SHA-256 in hex over what the server is told of a dataset, in order; file names do not enter.

    That is the classes, the slices' names, and every item's hash, label (or that it has none), group and slices.
    """
    # Data without slices keep the name that they had before there were slices.
    named: list[object] = [list(classes), [[column.name, column.values] for column in slice_columns]]
    digest = hashlib.sha256(json.dumps(named if slice_columns else named[0]).encode())
    for item in items:
        digest.update(item.sha256)
        digest.update((-1 if item.label is None else item.label).to_bytes(4, "big", signed=True))
        digest.update((-1 if item.group is None else item.group).to_bytes(4, "big", signed=True))
        for number in item.slices:
            digest.update(number.to_bytes(4, "big"))
    return digest.hexdigest()


def contradictions(items: Sequence[HashedItem]) -> str:
    """A warning where the same image carries different labels; empty where none does."""
    first: dict[bytes, HashedItem] = {}
    clashing = [
        f"{first[item.sha256].path} = {item.path}"
        for item in items
        if item.label is not None and first.setdefault(item.sha256, item).label != item.label
    ]
    return f"the same image has different labels: {some_names(clashing)}" if clashing else ""
