"""The source ``emoji``: 1,489 colour pictures of 64 x 64 pixels in 8 classes, drawn by two vendors.

Training and held-out images are Google's (npm emoji-datasource-google); the same emoji drawn by Twitter
(emoji-datasource-twitter) are a natural shift, which :func:`write_shift` lays out as class folders. A class is an
emoji's category. The emoji are those that both vendors draw, without flags and components, and without near-copies of
others: sequences with a gender sign (man running, woman running) and the subcategory ``family`` (every combination of
two parents and their children). What is held out is held out as an emoji: no drawing of it is trained on.

The pictures are transparent; they are laid on white. Dropping the transparency, as decoding any file does, would show
whatever colour a drawing program left behind it.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from seedzoo.errors import DataError, RequestError
from seedzoo.inference.sources import ArrayImages
from seedzoo.records import FileEntry, Preprocessing, TrainingData
from seedzoo.training.data.output import write_image_folder
from seedzoo.training.data.packages import Archive, Package, fetched
from seedzoo.training.data.record import ImageData
from seedzoo.training.data.splits import held_out, parts, share_of
from seedzoo.training.recipe import DataSection

__all__ = ["CLASSES", "load_emoji", "write_shift"]

_GOOGLE = Package(
    name="emoji-datasource-google",
    version="16.0.0",
    integrity="sha512-ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A==",
)
_TWITTER = Package(
    name="emoji-datasource-twitter",
    version="16.0.0",
    integrity="sha512-7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ==",
)
_CATEGORIES = {
    "Activities": "activities",
    "Animals & Nature": "animals-nature",
    "Food & Drink": "food-drink",
    "Objects": "objects",
    "People & Body": "people-body",
    "Smileys & Emotion": "smileys-emotion",
    "Symbols": "symbols",
    "Travel & Places": "travel-places",
}
CLASSES = tuple(_CATEGORIES.values())
_GENDER_SIGNS = frozenset({"2640", "2642"})
_INDEX = "emoji.json"
_SIDE = 64


class _Emoji(msgspec.Struct, frozen=True):
    unified: str
    image: str
    category: str
    subcategory: str
    has_img_google: bool
    has_img_twitter: bool

    @property
    def used(self) -> bool:
        return (
            self.has_img_google
            and self.has_img_twitter
            and self.category in _CATEGORIES
            and self.subcategory != "family"
            and not _GENDER_SIGNS.intersection(self.unified.split("-"))
        )


@dataclass(frozen=True, slots=True)
class _Split:
    emoji: list[_Emoji]
    labels: NDArray[np.int64]
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    reserved: NDArray[np.intp]


def load_emoji(section: DataSection, base: Path) -> ImageData:
    """Google's drawings; see :func:`seedzoo.training.data.load_data`.

    ``data.path`` names a folder that holds the unpacked packages by their names (a ``node_modules``); without it
    they come from the cache or the registry.
    """
    folder = _package_folder(_GOOGLE, section, base)
    split = _split(section, folder)
    images, entry = _drawings(folder, _GOOGLE, split.emoji)
    labels = split.labels
    return ImageData(
        train=ArrayImages(images[split.train], labels[split.train]),
        test=ArrayImages(images[split.test], labels[split.test]),
        reserved=ArrayImages(images[split.reserved], labels[split.reserved]),
        classes=CLASSES,
        preprocessing=Preprocessing(height=_SIDE, width=_SIDE, channels=3),
        origin=TrainingData(
            name=section.source,
            train_examples=len(split.train),
            held_out_examples=len(split.test),
            files=(entry,),
        ),
    )


def write_shift(section: DataSection, folder: Path, *, base: Path | None = None, part: str = "test") -> int:
    """Write Twitter's drawings of the held-out emoji, on white, as ``<folder>/<class>/<code points>.png``.

    Args:
        section: The same ``[data]`` that the family is trained with: it decides which emoji are held out.
        folder: Is created, whole or not at all.
        base: Folder that a relative ``data.path`` starts at.
        part: ``test`` (what certificate and profile see) or ``reserved``.

    Returns:
        How many images were written.

    Raises:
        RequestError: There is no such part.
        AlreadyExists: The folder exists.
        ZooError: As :func:`seedzoo.training.data.load_data`.
    """
    if part not in ("test", "reserved"):
        raise RequestError(f"part {part!r} is neither test nor reserved", field="part")
    split = _split(section, _package_folder(_GOOGLE, section, base or Path()))
    rows = (split.test if part == "test" else split.reserved).tolist()
    chosen = [split.emoji[row] for row in rows]
    images, _ = _drawings(_package_folder(_TWITTER, section, base or Path()), _TWITTER, chosen)
    write_image_folder(
        folder,
        (
            (_CATEGORIES[emoji.category], emoji.image.removesuffix(".png"), image)
            for emoji, image in zip(chosen, images, strict=True)
        ),
    )
    return len(chosen)


def _split(section: DataSection, folder: Path) -> _Split:
    try:
        raw = (folder / _INDEX).read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {folder / _INDEX}: {error.strerror}",
            hint=f"Name a folder that holds the unpacked package as {_GOOGLE.name}: [data] path, or --data.",
            reason="TRAINING_DATA_MISSING",
        ) from error
    emoji = _index(raw, where=str(folder / _INDEX))
    labels = np.array([CLASSES.index(_CATEGORIES[item.category]) for item in emoji], dtype=np.int64)
    in_test = held_out(labels, classes=CLASSES, share=share_of(section), seed=section.split_seed)
    train, test, reserved = parts(section, labels, in_test)
    return _Split(emoji=emoji, labels=labels, train=train, test=test, reserved=reserved)


def _index(raw: bytes, *, where: str) -> list[_Emoji]:
    """The emoji in use, in order of their code points (the file's order changes with its version)."""
    try:
        listed = msgspec.json.decode(raw, type=list[_Emoji])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{where} is no list of emoji: {error}", reason="EMOJI_MALFORMED") from error
    for item in listed:
        if "/" in item.image or item.image.startswith("."):
            raise DataError(f"{where}: {item.image!r} is no name of an image file", reason="EMOJI_MALFORMED")
    return sorted((item for item in listed if item.used), key=lambda item: item.unified)


def _package_folder(package: Package, section: DataSection, base: Path) -> Path:
    if section.path:
        return base / section.path / package.name
    return fetched(package, lambda archive: _kept(archive, package))


def _kept(archive: Archive, package: Package) -> frozenset[str]:
    emoji = _index(archive.read(_INDEX), where=_INDEX)
    return frozenset({_INDEX, "LICENSE", *(_image_name(package, item) for item in emoji)})


def _image_name(package: Package, emoji: _Emoji) -> str:
    vendor = package.name.rpartition("-")[2]
    return f"img/{vendor}/{_SIDE}/{emoji.image}"


def _drawings(folder: Path, package: Package, emoji: list[_Emoji]) -> tuple[NDArray[np.uint8], FileEntry]:
    """Images on white uint8 ``[n, 64, 64, 3]``, and one digest over names and contents of their files."""
    images = np.empty((len(emoji), _SIDE, _SIDE, 3), dtype=np.uint8)
    digest, size = hashlib.sha256(), 0
    for row, item in enumerate(emoji):
        path = folder / _image_name(package, item)
        try:
            raw = path.read_bytes()
            images[row] = _on_white(raw)
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(
                f"cannot use {path}: {error}",
                hint=f"Unpack the package again: remove {folder}.",
                reason="ITEM_UNREADABLE",
            ) from error
        digest.update(f"{item.image}\0{hashlib.sha256(raw).hexdigest()}\n".encode())
        size += len(raw)
    return images, FileEntry(path=f"{len(emoji)} images of {package.name}", size=size, sha256=digest.hexdigest())


def _on_white(raw: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(raw), formats=("PNG",)) as image:
        if image.size != (_SIDE, _SIDE):
            raise ValueError(f"it has {image.width} x {image.height} pixels, not {_SIDE} x {_SIDE}")
        drawing = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB"))
