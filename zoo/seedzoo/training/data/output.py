"""Images to a folder of class folders, the form in which natural shifts are kept; whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedzoo.errors import AlreadyExists
from seedzoo.files import local_failure

__all__ = ["write_image_folder"]


def write_image_folder(folder: Path, images: Iterable[tuple[str, str, NDArray[np.uint8]]]) -> None:
    """Write ``<folder>/<class>/<name>.png`` for each (class, name, uint8 ``[height, width, 1 or 3]``).

    Raises:
        AlreadyExists: The folder exists.
        LocalFailure: The disk is full or refuses; nothing is left behind.
    """
    if folder.exists():
        raise AlreadyExists(f"{folder} exists already", hint="Name a new folder.")
    fresh: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        for label, name, pixels in images:
            (fresh / label).mkdir(exist_ok=True)
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(fresh / label / f"{name}.png")
        fresh.chmod(0o755)  # a temporary folder is private to its owner
        fresh.rename(folder)
    except OSError as error:
        raise local_failure(error, folder) from error
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
