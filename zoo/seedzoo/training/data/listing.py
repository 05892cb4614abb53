"""From a list of labelled image files to training data: classes, splits, decoding, and what is recorded of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError, RecipeError
from seedzoo.inference.sources import ArrayImages, FileImages, ImageSource
from seedzoo.records import FileEntry, Preprocessing, TrainingData
from seedzoo.training.data.record import ImageData
from seedzoo.training.data.splits import held_out, parts, share_of
from seedzoo.training.recipe import DataSection

__all__ = ["ListedImage", "declared_classes", "image_data", "sorted_classes"]

_IN_MEMORY_BELOW = 2**30
"""Bytes of decoded pixels; every training process holds them."""
_BLOCK = 256
_NAMED = 5


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image file, not read yet."""

    path: Path
    label: str
    size: int
    in_test: bool | None
    """None where the data come without a test set."""
    slices: Mapping[str, str] = field(default_factory=dict)


def declared_classes(section: DataSection, base: Path) -> tuple[str, ...] | None:
    """The classes that the recipe states, in its order; None where it states none.

    Raises:
        DataError: The file of classes cannot be read.
        RecipeError: A class is empty or named twice.
    """
    if not section.classes:
        return None
    if isinstance(section.classes, str):
        path = base / section.classes
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"cannot read data.classes {path}: {error}",
                hint="Name a text file with one class a line, or list the classes in the recipe.",
                reason="TRAINING_DATA_MISSING",
            ) from error
        names = tuple(line.strip() for line in lines if line.strip())
    else:
        names = section.classes
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not all(name.strip() for name in names):
        what = f"names {twice[0]!r} twice" if twice else "has an empty name"
        raise RecipeError(f"data.classes {what}", field="data.classes")
    return names


def sorted_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels in order: by number where all are whole numbers, else by name."""
    names = set(labels)
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def image_data(
    section: DataSection,
    images: Sequence[ListedImage],
    *,
    classes: tuple[str, ...],
    root: Path,
    files: tuple[FileEntry, ...] = (),
) -> ImageData:
    """Split, check and, where they are few, decode the images.

    ``origin`` records one digest over the list: each image's name below ``root``, label, part and size in bytes.
    That notices added, removed, moved and most changed files without reading a large set.

    Args:
        section: The recipe's ``[data]``.
        images: All of them; every label is one of ``classes``.
        classes: In the order of the models' outputs.
        root: Names are relative to it.
        files: What else identifies the data, such as the manifest.

    Raises:
        RecipeError: No size is stated, a limit leaves nothing, or a share is missing or superfluous.
        DataError: A class is missing, or an image cannot be read.
    """
    preprocessing = _preprocessing(section)
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[image.label] for image in images], dtype=np.int64)
    in_test = _in_test(section, images, labels, classes)
    _check_classes(labels, in_test, classes)
    train, test, reserved = parts(section, labels, in_test)
    whole = FileImages([image.path for image in images], labels, preprocessing, root=root)
    sources = _sources(section, whole, (train, test, reserved))
    columns = section.slices
    return ImageData(
        train=sources[0],
        test=sources[1],
        reserved=sources[2],
        classes=classes,
        preprocessing=preprocessing,
        origin=TrainingData(
            name=section.source,
            train_examples=len(train),
            held_out_examples=len(test),
            files=(*files, _listing_entry(images, root, in_test)),
        ),
        test_slices={column: tuple(images[row].slices[column] for row in test.tolist()) for column in columns},
    )


def _preprocessing(section: DataSection) -> Preprocessing:
    if section.height == 0:
        raise RecipeError(
            f"data.height must say to how many pixels the images of the source {section.source} are brought",
            hint="For example height = 224; data.width is the same unless stated.",
            field="data.height",
        )
    return Preprocessing(
        height=section.height,
        width=section.width or section.height,
        channels=section.channels,
        resize=section.resize,
        interpolation=section.interpolation,
    )


def _in_test(
    section: DataSection, images: Sequence[ListedImage], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> NDArray[np.bool_]:
    stated = [image.in_test for image in images]
    if None in stated:
        return held_out(labels, classes=classes, share=share_of(section), seed=section.split_seed)
    if section.test_share:
        raise RecipeError(
            "data.test_share is of no use: the data come with a test set",
            hint="Leave it out.",
            field="data.test_share",
        )
    return np.array(stated, dtype=np.bool_)


def _check_classes(labels: NDArray[np.int64], in_test: NDArray[np.bool_], classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise DataError(
            f"the data have {len(classes)} class{'es' * (len(classes) != 1)}; a classifier needs at least two",
            hint="Lay the images out as one folder per class, or check the column label.",
            reason="CLASS_MISSING",
        )
    for part, rows in (("to train on", ~in_test), ("in the test set", in_test)):
        counts = np.bincount(labels[rows], minlength=len(classes))
        missing = [name for name, count in zip(classes, counts.tolist(), strict=True) if count == 0]
        if missing:
            raise DataError(
                f"{_some(missing)} {'has' if len(missing) == 1 else 'have'} no image {part}",
                hint="Every class needs images in both parts: add some, or leave the class out of both.",
                reason="CLASS_MISSING",
            )


def _sources(
    section: DataSection, whole: FileImages, rows: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
) -> list[ImageSource]:
    shape = whole.preprocessing
    decoded = sum(map(len, rows)) * shape.height * shape.width * shape.channels
    in_memory = decoded < _IN_MEMORY_BELOW if section.in_memory is None else section.in_memory
    return [_decoded(whole, part) if in_memory else _lazy(whole, part) for part in rows]


def _lazy(whole: FileImages, rows: NDArray[np.intp]) -> FileImages:
    return FileImages(
        [whole.paths[row] for row in rows.tolist()], whole.labels[rows], whole.preprocessing, root=whole.root
    )


def _decoded(whole: FileImages, rows: NDArray[np.intp]) -> ArrayImages:
    shape = whole.preprocessing
    pixels = np.empty((len(rows), shape.height, shape.width, shape.channels), dtype=np.uint8)
    faults: list[str] = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        images, _, skipped = whole.read_usable(block)
        faults += [item.reason for item in skipped]
        if not faults:
            pixels[start : start + len(block)] = images
    if faults:
        raise DataError(
            f"{len(faults)} of {len(rows)} images cannot be used: {_some(faults, separator='; ')}",
            hint="Replace or remove them: what a family is trained and certified on must be whole.",
            reason="ITEM_UNREADABLE",
        )
    return ArrayImages(pixels, whole.labels[rows])


def _listing_entry(images: Sequence[ListedImage], root: Path, in_test: NDArray[np.bool_]) -> FileEntry:
    prefix = f"{root}{os.sep}"  # pathlib's way to relative names takes half a minute for a million images
    lines = sorted(
        f"{str(image.path).removeprefix(prefix)}\0{image.label}\0{'test' if test else 'train'}\0{image.size}\n"
        for image, test in zip(images, in_test.tolist(), strict=True)
    )
    return FileEntry(
        path=f"list of {len(lines)} images",
        size=sum(image.size for image in images),
        sha256=hashlib.sha256("".join(lines).encode("utf-8", errors="surrogateescape")).hexdigest(),
    )


def _some(names: Sequence[str], *, separator: str = ", ") -> str:
    shown = separator.join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
