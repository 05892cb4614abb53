"""Arrays kept in small files, each bound to a key of all that decided them: what a resumed run need not do again.

A file is a SHA-256 over key and content, then the content. One that was damaged, cut off or made under another key does
not fit its digest and is taken for absent.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import LocalFailure
from seedzoo.files import local_failure, write_atomically

__all__ = ["Kept"]

_DIGEST = hashlib.sha256().digest_size


class Kept:
    """A folder of kept arrays under one key.

    Args:
        folder: Made when something is kept.
        key: Text that names everything that decides the arrays.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key.encode()

    def get(self, name: str) -> dict[str, NDArray[Any]] | None:
        """The arrays kept under that name and key, or None.

        Raises:
            LocalFailure: The file is there and cannot be read.
        """
        path = self._folder / name
        try:
            raw = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise LocalFailure(
                f"cannot read {path}: {error.strerror or error}", hint="Check the folder and its permissions."
            ) from error
        content = raw[_DIGEST:]
        if raw[:_DIGEST] != self._digest(name, content):
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: np.asarray(file[key]) for key in file.files}

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]], *, compress: bool = True) -> None:
        """Keep arrays under a name, in place of what is there.

        Raises:
            LocalFailure: The disk is full or refuses; what was kept before is still there.
        """
        sink = io.BytesIO()
        (np.savez_compressed if compress else np.savez)(sink, allow_pickle=False, **arrays)
        content = sink.getvalue()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise local_failure(error, self._folder) from error
        write_atomically(self._folder / name, self._digest(name, content) + content)

    def drop(self, *names: str) -> None:
        """Forget what is kept under these names, where something is.

        Raises:
            LocalFailure: A file cannot be deleted.
        """
        for name in names:
            path = self._folder / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise local_failure(error, path) from error

    def clear(self) -> None:
        """Forget everything in the folder, whatever its key; what cannot be deleted stays and is not taken for kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _digest(self, name: str, content: bytes) -> bytes:
        whole = hashlib.sha256()
        for part in (self._key, name.encode(), content):
            whole.update(len(part).to_bytes(8, "big"))
            whole.update(part)
        return whole.digest()
