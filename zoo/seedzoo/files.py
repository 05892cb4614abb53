"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from seedzoo.errors import LocalFailure

__all__ = ["local_failure", "write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file beside it, durable before it becomes visible.

    Raises:
        LocalFailure: The disk is full or refuses; nothing is left behind.
    """
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is private to its owner; what replaces it is as readable as any new file.
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise local_failure(error, path) from error
    except BaseException:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def local_failure(error: OSError, path: Path) -> LocalFailure:
    """One clear error for what the operating system refused at ``path``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LocalFailure(
            f"the disk is full at {path.parent}; nothing half-written is left there",
            hint="Free some space, or name another folder.",
            reason="DISK_FULL",
        )
    return LocalFailure(f"cannot write {path}: {error.strerror or error}", hint="Check the folder and its permissions.")
