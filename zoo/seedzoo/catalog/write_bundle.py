"""Write a bundle's folder as a whole: a killed run leaves the old one or the new one, never a mixture."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from seedzoo.catalog.bundle import Bundle, open_bundle
from seedzoo.files import local_failure, write_atomically

__all__ = ["recover_bundle", "stands_aside", "write_bundle"]


def write_bundle(folder: Path, files: Mapping[str, bytes | Path]) -> Bundle:
    """Write beside the old bundle, check, then swap.

    Args:
        folder: Where the bundle will be, in place of one that is there.
        files: Content by path below the folder; a path stands for the file there, which is linked or copied.

    Raises:
        DataError: The files make no bundle; see :func:`seedzoo.catalog.bundle.open_bundle`.
        LocalFailure: The disk is full or refuses.
    """
    folder = folder.resolve()
    fresh, old = _beside(folder)
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                write_atomically(path, content)
            else:
                _place(content, path)
        bundle = open_bundle(fresh)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise local_failure(error, folder) from error
    return replace(bundle, folder=folder)


def recover_bundle(folder: Path) -> None:
    """Put a bundle back that a run killed between two renames left aside; does nothing where there is none.

    Raises:
        LocalFailure: The disk refuses.
    """
    folder = folder.resolve()
    _, old = _beside(folder)
    if folder.exists() or not old.exists():
        return
    try:
        old.rename(folder)
    except OSError as error:
        raise local_failure(error, folder) from error


def stands_aside(folder: Path) -> bool:
    """Whether a killed run left the bundle aside, for `recover_bundle` to put back."""
    return _beside(folder.resolve())[1].exists()


def _beside(folder: Path) -> tuple[Path, Path]:
    """Where the next bundle is written, and where the last one stands aside."""
    return folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")


def _place(source: Path, path: Path) -> None:
    try:
        os.link(source, path)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, path, follow_symlinks=False)
