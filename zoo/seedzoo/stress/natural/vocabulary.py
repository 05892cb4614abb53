"""Label maps: from a set's labels to the class indices of a task that count as right."""

from __future__ import annotations

import functools
import json
import re
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedzoo.errors import DataError
from seedzoo.stress.natural.set_file import SetFile, nearest

__all__ = [
    "LabelMap",
    "TaskClasses",
    "file_labels",
    "imagenet_wnids",
    "label_map",
    "read_json",
    "read_labels",
    "task_classes",
]

_SETS = Path(__file__).parent / "sets"
_WNID = re.compile(r"n\d{8}")
_VAL = "ILSVRC2012_val_{:08d}.JPEG"

Names = Mapping[str, tuple[str, ...]]
"""A label or file name -> the class names that count as right."""


@functools.cache
def imagenet_wnids() -> tuple[str, ...]:
    """WordNet ids of ImageNet's 1,000 classes in the usual order."""
    return tuple((_SETS / "imagenet.txt").read_text(encoding="utf-8").split())


@dataclass(frozen=True)
class TaskClasses:
    """What a task calls its classes.

    Attributes:
        names: The task's class names.
        index: Every name that stands for a class -> its index.
    """

    names: tuple[str, ...]
    index: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.names)


def task_classes(classes: Sequence[str], order: str) -> TaskClasses:
    """The names by which a label map may call a task's classes.

    Args:
        classes: The task's class names.
        order: ``imagenet`` where they are ImageNet's 1,000 classes in the usual order, else empty.

    Raises:
        DataError: They cannot be in ImageNet's order.
    """
    index = {name: place for place, name in enumerate(classes)}
    if order == "imagenet":
        wnids = imagenet_wnids()
        if len(classes) != len(wnids):
            raise DataError(
                f"order=imagenet needs a task of {len(wnids):,} classes, and this one has {len(classes):,}",
                hint="Leave it out where the class names are WordNet ids such as n01440764.",
                reason="CLASSES_UNKNOWN",
                field="order",
            )
        for place, wnid in enumerate(wnids):
            if index.setdefault(wnid, place) != place:
                raise DataError(
                    f"order=imagenet contradicts the task: its class {index[wnid]} is {wnid}, which is ImageNet's "
                    f"class {place}",
                    hint="Leave order=imagenet out: the names say already which class is which.",
                    reason="CLASSES_UNKNOWN",
                    field="order",
                )
    return TaskClasses(tuple(classes), index)


@dataclass(frozen=True)
class LabelMap:
    """Which class indices count as right for a label.

    Attributes:
        accepted: Label -> class indices, ascending; none where its images are left out.
        absent: Class names of the map that the task lacks.
    """

    accepted: Mapping[str, tuple[int, ...]]
    absent: frozenset[str] = frozenset()


def label_map(names: Names, classes: TaskClasses, *, where: str, missing_classes: bool) -> LabelMap:
    """Look up the class names of a label map.

    Args:
        names: The map.
        classes: The task's classes.
        where: What the map is called in messages.
        missing_classes: Pass over names that the task lacks.

    Raises:
        DataError: The map names classes that the task lacks, or (with ``missing_classes``) none that it has.
    """
    accepted: dict[str, tuple[int, ...]] = {}
    absent: dict[str, str] = {}
    for label, wanted in names.items():
        absent |= {name: label for name in wanted if name not in classes.index}
        accepted[label] = tuple(sorted({classes.index[name] for name in wanted if name in classes.index}))
    if absent and not missing_classes:
        name = next(iter(absent))
        others = f", and {len(absent) - 1} more that the task lacks" if len(absent) > 1 else ""
        raise DataError(
            f"{where}: {absent[name]!r} stands for the class {name!r}{others}",
            hint=_class_hint(name, classes),
            reason="LABEL_MAP_UNKNOWN_CLASS",
            field="labels",
        )
    if not any(accepted.values()):
        raise DataError(
            f"{where}: none of its classes ({', '.join(list(absent)[:3]) or 'none'}, …) is one of the task's "
            f"({', '.join(classes.names[:3])}, …)",
            hint=_class_hint(next(iter(absent), ""), classes),
            reason="CLASSES_UNKNOWN",
            field="labels",
        )
    return LabelMap(accepted, frozenset(absent))


def _class_hint(name: str, classes: TaskClasses) -> str:
    if _WNID.fullmatch(name) and not any(_WNID.fullmatch(known) for known in classes.index):
        return (
            "Where the task's 1,000 classes are ImageNet's in the usual order, say so: order=imagenet "
            "(NAME=PATH?order=imagenet, or in the set file)."
        )
    return nearest(name, classes.names)


def read_labels(given: SetFile) -> Names | None:
    """The label map of a set file; None where it has none.

    Raises:
        DataError: Its file cannot be read or is none.
    """
    if not given.labels:
        return None
    if isinstance(given.labels, dict):
        return _as_names(given.labels, f"the labels of {given.name}")
    path = given.base / given.labels
    if path.suffix == ".txt":
        lines = tuple(line.strip() for line in _read(path).splitlines() if line.strip())
        return {str(place) if given.folders_are_lines else line: (line,) for place, line in enumerate(lines)}
    if path.suffix == ".toml":
        try:
            return _as_names(tomllib.loads(_read(path)), str(path))
        except tomllib.TOMLDecodeError as error:
            raise DataError(f"{path} is not valid TOML: {error}", reason="LABEL_MAP_INVALID") from error
    if path.suffix == ".json":
        return _as_names(read_json(path), str(path))
    raise DataError(
        f"{path} is not a label map", hint="It must be a .toml, .json or .txt file.", reason="LABEL_MAP_INVALID"
    )


def file_labels(given: SetFile) -> tuple[Names, bool]:
    """File name -> class names that count as right, of a set of kind ``files``.

    Besides label maps this reads ReaL's class indices (``.npz``) and the multi-label annotations of Shankar et al.
    (2020) as published (``human_accuracy_v3.0.0.json``; problematic images are left out).

    Returns:
        The names, and whether they are about ImageNet's validation images.

    Raises:
        DataError: The file cannot be read or is none.
    """
    if isinstance(given.labels, str) and given.labels.endswith(".npz"):
        return _real(given.base / given.labels), True
    if isinstance(given.labels, str) and given.labels.endswith(".json"):
        content = read_json(given.base / given.labels)
        if isinstance(content, dict) and "initial_annots" in content:
            return _multilabels(content, str(given.base / given.labels)), True
    names = read_labels(given)
    if names is None:
        raise DataError(f"{given.name}: a set of kind files needs labels", reason="LABEL_MAP_INVALID", field="labels")
    return names, False


def _real(path: Path) -> Names:
    """ReaL's labels: how many classes each validation image has, and their indices one after another."""
    try:
        stored = np.load(path)
        ends = np.cumsum(stored["counts"], dtype=np.int64).tolist()
        wnids = imagenet_wnids()
        classes = [wnids[index] for index in stored["classes"].tolist()]
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a file of ReaL labels", reason="LABEL_MAP_INVALID", field="labels") from error
    starts = [0, *ends[:-1]]
    return {
        _VAL.format(place): tuple(classes[start:end])
        for place, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
    }


def _multilabels(content: dict[str, object], where: str) -> Names:
    annotations, problematic = content["initial_annots"], content.get("problematic_images", {})
    if not isinstance(annotations, dict) or not isinstance(problematic, dict | list):
        raise DataError(f"{where} is not the multi-label file as published", reason="LABEL_MAP_INVALID")
    kept = {
        name: one.get("correct", []) if isinstance(one, dict) and name not in problematic else []
        for name, one in annotations.items()
        if name.startswith("ILSVRC2012_val_")
    }
    return _as_names(kept, where)


def _as_names(content: object, where: str) -> Names:
    if not isinstance(content, dict):
        raise DataError(f"{where} is not a table of labels", reason="LABEL_MAP_INVALID", field="labels")
    names = {}
    for label, value in content.items():
        wanted = [value] if isinstance(value, str) else value
        if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
            raise DataError(
                f"{where}: {label!r} must stand for a class name or a list of them, not {value!r}",
                reason="LABEL_MAP_INVALID",
                field="labels",
            )
        names[str(label)] = tuple(wanted)
    return names


def read_json(path: Path) -> object:
    """Parse a JSON file.

    Raises:
        DataError: It cannot be read or is not JSON.
    """
    try:
        content: object = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON: {error}", reason="LABEL_MAP_INVALID") from error
    return content


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", reason="LABEL_MAP_INVALID") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", reason="LABEL_MAP_INVALID") from error
