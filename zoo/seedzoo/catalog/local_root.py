"""The directory of a local store, and what it means where the system refuses something there."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from seedzoo.errors import LocalFailure, RequestError, StoreError, ZooError

__all__ = ["ABSENT", "local_root", "translate"]

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""Where no object is."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def translate(error: OSError, what: str) -> ZooError:
    """The error to raise instead; ``what`` could not be done."""
    if error.errno in _FULL:
        return LocalFailure(f"{what}: the disk is full", hint="Free some space and retry.", reason="DISK_FULL")
    if error.errno in _REFUSED:
        return LocalFailure(
            f"{what}: {error.strerror}", hint="Check the owner and permissions.", reason="PERMISSION_DENIED"
        )
    return StoreError(f"{what}: {error.strerror or error}", hint="Check the disk that holds the store.")


def local_root(root: Path | str) -> Path:
    """The absolute path of a directory, which need not exist yet.

    Raises:
        RequestError: It is a file, or in the home of a user that does not exist.
        LocalFailure: It must not be looked at.
        StoreError: No directory can be called so.
    """
    try:
        path = Path(root).expanduser().absolute()
    except RuntimeError as error:
        raise RequestError(
            f"{root} is in the home directory of a user that this machine does not know",
            hint="Give the whole path, or ./~… for a name that begins with ~.",
            field="store",
        ) from error
    try:
        mode = path.stat().st_mode
    except ABSENT:
        return path
    except OSError as error:
        raise translate(error, f"cannot open the store {path}") from error
    if not stat.S_ISDIR(mode):
        raise RequestError(f"{path} is a file, not a directory", hint="Give the directory of the store.", field="store")
    return path
