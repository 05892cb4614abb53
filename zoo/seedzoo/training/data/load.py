"""From a recipe's ``[data]`` to images: which module reads which source, and which keys each source knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from seedzoo.errors import RecipeError
from seedzoo.training.data.digits import load_digits
from seedzoo.training.data.emoji import load_emoji
from seedzoo.training.data.folders import load_image_folder
from seedzoo.training.data.idx import load_fashion_mnist, load_idx
from seedzoo.training.data.manifest import load_manifest
from seedzoo.training.data.record import ImageData
from seedzoo.training.recipe import DataSection

__all__ = ["load_data"]


@dataclass(frozen=True, slots=True)
class _Source:
    load: Callable[[DataSection, Path], ImageData]
    keys: frozenset[str]
    """Keys that it knows beside those that every source knows."""


_COMMON = frozenset({"source", "path", "reserve_test", "train_limit", "sha256"})
_SPLIT = frozenset({"test_share", "split_seed"})
_FILES = _SPLIT | {"test_name", "classes", "height", "width", "channels", "resize", "interpolation", "in_memory"}
_SOURCES = {
    "digits": _Source(load_digits, _SPLIT),
    "emoji": _Source(load_emoji, _SPLIT),
    "fashion-mnist": _Source(load_fashion_mnist, frozenset()),
    "idx": _Source(load_idx, frozenset()),
    "image-folder": _Source(load_image_folder, _FILES),
    "manifest": _Source(load_manifest, _FILES | {"root", "slices"}),
}


def load_data(section: DataSection, *, base: Path | None = None) -> ImageData:
    """Load the data of a recipe; relative paths are taken below ``base``.

    Raises:
        RecipeError: The source is not known, or a key of ``[data]`` means nothing to it.
        DataError: Files are missing or malformed, a class has no examples, or a download failed.
        IntegrityError: Downloaded or installed contents are not what they should be.
        MissingExtra: The source needs a package that is not installed.
        LocalFailure: The disk is full or refuses.
    """
    source = _SOURCES.get(section.source)
    if source is None:
        raise RecipeError(
            f"data.source {section.source!r} is not known",
            hint=f"Known sources: {', '.join(_SOURCES)}.",
            field="data.source",
        )
    for item in fields(DataSection):
        key = item.name
        unused = key not in _COMMON | source.keys
        if unused and item.default is not MISSING and getattr(section, key) != item.default:
            raise RecipeError(
                f"data.{key} means nothing to the source {section.source}",
                hint="Leave it out, or choose another data.source.",
                field=f"data.{key}",
            )
    return source.load(section, base or Path())
