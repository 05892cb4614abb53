"""The source ``image-folder``: a folder of class folders, with or without a test set beside it.

``path`` holds ``train/`` and ``val/`` or ``test/``, each with one folder per class; or the class folders themselves,
of which ``test_share`` is held out. Below a class folder, folders may be nested. Hidden files and folders (names that
start with a dot) and files that are no images by their ending are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from seedzoo.errors import DataError, RecipeError
from seedzoo.training.data.listing import ListedImage, declared_classes, image_data, sorted_classes
from seedzoo.training.data.record import ImageData
from seedzoo.training.recipe import DataSection

__all__ = ["IMAGE_ENDINGS", "load_image_folder"]

IMAGE_ENDINGS = frozenset(
    {".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
_TEST_NAMES = ("val", "test")


def load_image_folder(section: DataSection, base: Path) -> ImageData:
    """Images from class folders; see :func:`seedzoo.training.data.load_data`."""
    root = base / section.path
    declared = declared_classes(section, base)
    train = root / "train"
    images: list[ListedImage] = []
    if train.is_dir():
        test = root / _test_folder(section, root)
        classes = declared or sorted_classes(_class_folders(train))
        images += _listed(train, classes, in_test=False)
        images += _listed(test, classes, in_test=True)
    else:
        classes = declared or sorted_classes(_class_folders(root))
        images += _listed(root, classes, in_test=None)
    return image_data(section, images, classes=classes, root=root)


def _test_folder(section: DataSection, root: Path) -> str:
    found = [name for name in _TEST_NAMES if (root / name).is_dir()]
    if section.test_name:
        return section.test_name
    if len(found) == 1:
        return found[0]
    if found:
        raise RecipeError(
            f"{root} has both val and test: data.test_name must say which one is the held-out test set",
            hint='For example test_name = "val", as for ImageNet.',
            field="data.test_name",
        )
    raise DataError(
        f"{root} has train, but neither val nor test beside it",
        hint="Add one, or name the folder train itself as data.path and hold out a data.test_share of it.",
        reason="TRAINING_DATA_MISSING",
    )


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"cannot read the folder {folder}: {error.strerror}",
            hint="Name the folder of the images: [data] path in the recipe, or --data.",
            reason="TRAINING_DATA_MISSING",
        ) from error


def _class_folders(folder: Path) -> list[str]:
    names = [entry.name for entry in _visible(folder) if entry.is_dir()]
    if not names:
        raise DataError(
            f"{folder} has no class folders",
            hint="Wanted is one folder per class with its images in it.",
            reason="CLASS_MISSING",
        )
    return names


def _listed(folder: Path, classes: tuple[str, ...], *, in_test: bool | None) -> Iterator[ListedImage]:
    present = _class_folders(folder)
    unknown = [name for name in present if name not in classes]
    if unknown:
        raise DataError(
            f"{folder / unknown[0]} is no class that is trained" + _near(unknown[0], classes),
            hint="Remove or rename the folder, or add the class to data.classes.",
            reason="CLASS_UNKNOWN",
        )
    for name in classes:
        if name not in present:
            raise DataError(
                f"class {name!r} has no folder in {folder}",
                hint="Every class needs images in every part.",
                reason="CLASS_MISSING",
            )
        files, others = _images_below(folder / name)
        if not files:
            what = f" (but {others} files of other endings)" if others else ""
            raise DataError(
                f"the class folder {folder / name} has no images{what}",
                hint=f"Add images ({', '.join(sorted(IMAGE_ENDINGS))}), or remove the class everywhere.",
                reason="CLASS_MISSING",
            )
        for path, size in files:
            yield ListedImage(path=path, label=name, size=size, in_test=in_test)


def _near(name: str, classes: tuple[str, ...]) -> str:
    same = [known for known in classes if known.casefold() == name.casefold()]
    return f" (there is {same[0]!r}: capitals differ)" if same else ""


def _images_below(folder: Path) -> tuple[list[tuple[Path, int]], int]:
    """Image files and sizes below a class folder in order of their names, and how many other files there are."""
    found: list[tuple[Path, int]] = []
    others = 0
    waiting, seen = [folder], set[tuple[int, int]]()
    while waiting:
        here = waiting.pop()
        try:
            state = here.stat()
        except OSError as error:
            raise DataError(f"cannot read the folder {here}: {error.strerror}", reason="ITEM_UNREADABLE") from error
        if (state.st_dev, state.st_ino) in seen:  # links may form loops, and an image counts once
            continue
        seen.add((state.st_dev, state.st_ino))
        for entry in _visible(here):
            if entry.is_dir():
                waiting.append(Path(entry.path))
            elif Path(entry.name).suffix.lower() not in IMAGE_ENDINGS:
                others += 1
            else:
                found.append((Path(entry.path), _size(entry)))
    return sorted(found), others


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError as error:
        raise DataError(
            f"cannot read {entry.path}: {error.strerror}",
            hint="A link that leads nowhere? Mend or remove it.",
            reason="ITEM_UNREADABLE",
        ) from error
