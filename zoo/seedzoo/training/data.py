"""Training data in memory: Fashion-MNIST, or any four idx files of the same names in a folder.

Sources for ``fashion-mnist``, in this order: the folder that the recipe or ``--data`` names, the Debian package
dataset-fashion-mnist, the download cache, a download. Contents are checked by SHA-256 of the decompressed files.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import tempfile
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from seedzoo.errors import DataError, IntegrityError, RecipeError
from seedzoo.records import FileEntry, TrainingData
from seedzoo.training.recipe import DataSection

__all__ = ["ImageData", "load_data", "read_idx"]

_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_UPSTREAM = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_URL_VARIABLE = "SEEDZOO_FASHION_MNIST_URL"
_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip


@dataclass(frozen=True)
class ImageData:
    """Images uint8 ``[n, height, width, channels]`` and labels int64 ``[n]``, split as the recipe says."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    """Held-out test set of certificate and profile; the reserved part is not in it."""
    test_labels: NDArray[np.int64]
    reserved_images: NDArray[np.uint8]
    """The end of the test set, kept for users."""
    reserved_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    origin: TrainingData


def load_data(section: DataSection, *, base: Path | None = None) -> ImageData:
    """Load the data of a recipe; relative paths are taken below ``base``.

    Raises:
        RecipeError: The source is not known.
        DataError: Files are missing or malformed, or the download failed.
        IntegrityError: Contents are not those of Fashion-MNIST.
    """
    if section.source == "fashion-mnist":
        contents = _fashion_mnist(Path(section.path) if section.path else None)
    elif section.source == "idx":
        folder = (base or Path()) / section.path
        contents = {name: _read_file(folder, name) for name in _FILES}
    else:
        raise RecipeError(
            f"data.source {section.source!r} is not known",
            hint="Known sources: fashion-mnist, idx.",
            field="data.source",
        )
    train_images, train_labels, test_images, test_labels = (read_idx(contents[name], where=name) for name in _FILES)
    _check_shapes(train_images, train_labels, "train")
    _check_shapes(test_images, test_labels, "t10k")
    if section.reserve_test >= len(test_labels):
        raise RecipeError(
            f"data.reserve_test = {section.reserve_test} leaves none of the {len(test_labels)} test examples",
            field="data.reserve_test",
        )
    if section.train_limit:
        train_images, train_labels = train_images[: section.train_limit], train_labels[: section.train_limit]
    kept = len(test_labels) - section.reserve_test
    highest = max(int(train_labels.max()), int(test_labels.max()))
    classes = _CLASSES if highest < len(_CLASSES) else tuple(f"class-{index}" for index in range(highest + 1))
    return ImageData(
        train_images=train_images[..., np.newaxis],
        train_labels=train_labels.astype(np.int64),
        test_images=test_images[:kept, ..., np.newaxis],
        test_labels=test_labels[:kept].astype(np.int64),
        reserved_images=test_images[kept:, ..., np.newaxis],
        reserved_labels=test_labels[kept:].astype(np.int64),
        classes=classes,
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


def _check_shapes(images: NDArray[np.uint8], labels: NDArray[np.uint8], split: str) -> None:
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or len(labels) == 0:
        raise DataError(
            f"{split}: images {images.shape} and labels {labels.shape} do not belong together", reason="IDX_MALFORMED"
        )


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
    folder.mkdir(parents=True, exist_ok=True)
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
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as temporary:
        temporary.write(packed)
    Path(temporary.name).replace(folder / f"{name}.gz")
