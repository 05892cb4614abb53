"""Files that are kept between runs while there is room: those that were not used for the longest time go first."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from seedzoo.files import local_failure, write_atomically

__all__ = ["KeptFiles"]


class KeptFiles:
    """A folder of such files; several processes may use it at once.

    Args:
        folder: Its place; made when first needed, and readable to its owner only.
        limit_bytes: What all files may take together.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes

    def paths(self) -> list[Path]:
        """All files, in the order of their names."""
        return sorted(path for path in self._folder.glob("*") if not path.name.startswith("."))

    def path(self, name: str) -> Path:
        """Where the file of that name is or will be."""
        return self._folder / name

    def used(self, path: Path) -> None:
        """That file was of use just now."""
        with suppress(OSError):  # another process may have removed it
            os.utime(path)

    def put(self, name: str, data: bytes) -> None:
        """Keep this, and remove what there is no room for.

        Raises:
            LocalFailure: The disk is full or refuses.
        """
        path = self.path(name)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise local_failure(error, path) from error
        write_atomically(path, data)
        self._make_room()

    def _make_room(self) -> None:
        found = []
        for path in self._folder.iterdir():  # what was left half-written is old some day, and goes then
            with suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit:
                return
            with suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size
