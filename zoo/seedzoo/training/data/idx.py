"""Data in idx files: Fashion-MNIST, or any four files of the same names in a folder, grey or colour.

Sources for ``fashion-mnist``, in this order: the folder that the recipe or ``--data`` names, the Debian package
dataset-fashion-mnist, the download cache, a download. Contents are checked by SHA-256 of the decompressed files.
The test set and its reserved end are in the files' order.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from seedzoo.errors import DataError, IntegrityError
from seedzoo.files import local_failure, write_atomically
from seedzoo.inference.sources import ArrayImages
from seedzoo.records import FileEntry, Preprocessing, TrainingData
from seedzoo.training.data.record import ImageData
from seedzoo.training.data.splits import check_reserve
from seedzoo.training.recipe import DataSection

__all__ = ["load_fashion_mnist", "load_idx", "read_idx"]

_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_COLOUR = {"train-images-idx3-ubyte": "train-images-idx4-ubyte", "t10k-images-idx3-ubyte": "t10k-images-idx4-ubyte"}
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_UPSTREAM = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_URL_VARIABLE = "SEEDZOO_FASHION_MNIST_URL"
_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip


def load_fashion_mnist(section: DataSection, base: Path) -> ImageData:  # noqa: ARG001  (all sources are called alike)
    """Fashion-MNIST; see :func:`seedzoo.training.data.load_data`."""
    return _image_data(section, _fashion_mnist(Path(section.path) if section.path else None))


def load_idx(section: DataSection, base: Path) -> ImageData:
    """Four idx files in ``data.path``; images have 3 dimensions, or 4 with 1 or 3 channels last.

    Colour images may be named ``…-idx4-ubyte``, as the format's naming goes.
    """
    folder = base / section.path
    contents = {}
    for name in _FILES:
        colour = _COLOUR.get(name, name)
        present = any((folder / f"{colour}{ending}").exists() for ending in ("", ".gz"))
        contents[colour if present else name] = _read_file(folder, colour if present else name)
    return _image_data(section, contents)


def _image_data(section: DataSection, contents: dict[str, bytes]) -> ImageData:
    train_images, train_labels, test_images, test_labels = (read_idx(raw, where=name) for name, raw in contents.items())
    train_images = _checked(train_images, train_labels, "train")
    test_images = _checked(test_images, test_labels, "t10k")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"images to train on are {train_images.shape[1:]}, those of the test set {test_images.shape[1:]} "
            "(height, width, channels)",
            reason="IDX_MALFORMED",
        )
    kept = check_reserve(section, len(test_labels))
    if section.train_limit:
        train_images, train_labels = train_images[: section.train_limit], train_labels[: section.train_limit]
    highest = max(int(train_labels.max()), int(test_labels.max()))
    classes = _CLASSES if highest < len(_CLASSES) else tuple(f"class-{index}" for index in range(highest + 1))
    height, width, channels = train_images.shape[1:]
    return ImageData(
        train=ArrayImages(train_images, train_labels.astype(np.int64)),
        test=ArrayImages(test_images[:kept], test_labels[:kept].astype(np.int64)),
        reserved=ArrayImages(test_images[kept:], test_labels[kept:].astype(np.int64)),
        classes=classes,
        preprocessing=Preprocessing(height=height, width=width, channels=channels),
        origin=TrainingData(
            name=section.source,
            train_examples=len(train_labels),
            held_out_examples=kept,
            files=tuple(
                FileEntry(path=name, size=len(raw), sha256=hashlib.sha256(raw).hexdigest())
                for name, raw in contents.items()
            ),
        ),
    )


def read_idx(raw: bytes, *, where: str) -> NDArray[np.uint8]:
    """Parse an idx file of unsigned bytes (the MNIST format): magic ``0 0 8 ndim``, big-endian sizes, data.

    Raises:
        DataError: The bytes are not a whole idx file of unsigned bytes.
    """
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08" or not 1 <= raw[3] <= 4:
        raise DataError(f"{where} is not an idx file of unsigned bytes", reason="IDX_MALFORMED")
    header = 4 + 4 * raw[3]
    if len(raw) < header:
        raise DataError(f"{where} is cut off inside its header", reason="IDX_MALFORMED")
    shape = struct.unpack(f">{raw[3]}I", raw[4:header])
    if len(raw) - header != math.prod(shape):
        raise DataError(
            f"{where} holds {len(raw) - header} data bytes, but its header says {math.prod(shape)}",
            hint="The file is cut off or has been changed; fetch it again.",
            reason="IDX_MALFORMED",
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)


def _checked(images: NDArray[np.uint8], labels: NDArray[np.uint8], split: str) -> NDArray[np.uint8]:
    """The images as ``[n, height, width, channels]``."""
    whole = images[..., np.newaxis] if images.ndim == 3 else images
    fits = whole.ndim == 4 and whole.shape[3] in (1, 3) and min(whole.shape) > 0
    if not fits or labels.ndim != 1 or len(whole) != len(labels):
        raise DataError(
            f"{split}: images {images.shape} and labels {labels.shape} do not belong together",
            hint="Wanted are images [n, height, width], or [n, height, width, 1 or 3], and labels [n].",
            reason="IDX_MALFORMED",
        )
    return whole


def _fashion_mnist(folder: Path | None) -> dict[str, bytes]:
    if folder is None and _DEBIAN.is_dir():
        folder = _DEBIAN
    if folder is None:
        folder = platformdirs.user_cache_path("seedzoo") / "fashion-mnist"
        for name, sha256 in _FILES.items():
            if not (folder / f"{name}.gz").exists():
                _download(name, sha256, folder)
    contents = {name: _read_file(folder, name) for name in _FILES}
    for name, sha256 in _FILES.items():
        if hashlib.sha256(contents[name]).hexdigest() != sha256:
            raise IntegrityError(
                f"{folder / name} is not Fashion-MNIST: its SHA-256 differs",
                hint='Fetch it again, or use source = "idx" for other data of this format.',
            )
    return contents


def _read_file(folder: Path, name: str) -> bytes:
    plain, packed = folder / name, folder / f"{name}.gz"
    try:
        return gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"cannot read {packed if packed.exists() else plain}: {error}",
            hint="Name the folder that holds the four idx files: [data] path in the recipe, or --data.",
            reason="TRAINING_DATA_MISSING",
        ) from error


def _download(name: str, sha256: str, folder: Path) -> None:
    url = os.environ.get(_URL_VARIABLE, _UPSTREAM) + f"{name}.gz"
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            packed = response.read()
        content = gzip.decompress(packed)
    except (urllib.error.URLError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"cannot download Fashion-MNIST from {url}: {error}",
            hint="Install the Debian package dataset-fashion-mnist, name a folder with --data, "
            f"or set {_URL_VARIABLE} to a mirror.",
            reason="TRAINING_DATA_MISSING",
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise IntegrityError(f"what {url} sent is not Fashion-MNIST: its SHA-256 differs", hint="Try another mirror.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise local_failure(error, folder) from error
    write_atomically(folder / f"{name}.gz", packed)
