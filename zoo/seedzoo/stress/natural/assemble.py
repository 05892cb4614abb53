"""From images and the classes that count as right on them to a set that a family is measured on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seedzoo.errors import DataError
from seedzoo.inference.sources import FileImages
from seedzoo.records import Preprocessing
from seedzoo.stress.evaluation_set import EvaluationSet
from seedzoo.stress.natural.disk import many
from seedzoo.stress.natural.set_file import SetFile

__all__ = ["Found", "NaturalSet", "assemble", "columns_from_paths"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NaturalSet(EvaluationSet):
    """A natural shift from disk.

    Attributes:
        title: One line for people.
        notes: What was left out or is not as expected, with numbers, one sentence each.
    """

    title: str = ""
    notes: tuple[str, ...] = ()


@dataclass
class Found:
    """What was found of a set.

    Attributes:
        paths: Image files.
        accepted: Class indices that count as right for each image, at least one.
        scenes: Number of each image's scene; None where every image counts for itself.
        columns: Column -> value of each image.
        mapped: All class indices that the set's label map names.
        notes: See :class:`NaturalSet`.
    """

    paths: list[Path] = field(default_factory=list)
    accepted: list[tuple[int, ...]] = field(default_factory=list)
    scenes: list[int] | None = None
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    mapped: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def assemble(
    found: Found, given: SetFile, *, root: Path, classes: int, preprocessing: Preprocessing, suffix: str = ""
) -> NaturalSet:
    """Put together what was found of a set.

    Args:
        found: Images and what counts as right.
        given: The set's description.
        root: Folder that the images lie below.
        classes: How many the task has.
        preprocessing: What the task's models take.
        suffix: Behind the set's name, for one of several sets from one folder.

    Raises:
        DataError: There are no images.
    """
    if not found.paths:
        raise DataError(
            f"{given.name}: no images that count were found in {root}",
            hint=" ".join(found.notes) or (f"Expected there: {given.layout}." if given.layout else ""),
            reason="DATA_EMPTY",
        )
    notes = list(found.notes)
    if given.images and len(found.paths) != given.images:
        notes.append(f"{many(len(found.paths), 'image')} instead of the {given.images:,} of the whole set")
    occurring = {index for accepted in found.accepted for index in accepted}
    several = any(len(accepted) > 1 for accepted in found.accepted)
    accepted = None
    if several:
        accepted = np.zeros((len(found.paths), classes), dtype=np.bool_)
        for row, indices in enumerate(found.accepted):
            accepted[row, list(indices)] = True
    candidates = None
    allowed = found.mapped | occurring
    if given.candidates == "mapped" and len(allowed) < classes:
        candidates = np.array(sorted(allowed), dtype=np.intp)
    return NaturalSet(
        name=f"natural/{given.name}{suffix}",
        images=FileImages(
            paths=tuple(found.paths),
            labels=np.array([indices[0] for indices in found.accepted], dtype=np.int64),
            preprocessing=preprocessing,
            root=root,
            border=given.border,
        ),
        accepted=accepted,
        candidates=candidates,
        anchors=None if found.scenes is None else np.array(found.scenes, dtype=np.int64),
        slices=_slices(found, given, root),
        restricted_to=np.array(sorted(occurring), dtype=np.intp) if len(occurring) < classes else None,
        title=given.title,
        notes=tuple(notes),
    )


def _slices(found: Found, given: SetFile, root: Path) -> Mapping[str, tuple[str, ...]]:
    from_paths = columns_from_paths(found.paths, given.slice_from_path, root=root)
    both = sorted(set(from_paths) & set(found.columns))
    if both:
        raise DataError(
            f"{given.name}: {both[0]} is a column of the manifest and a group of slice_from_path",
            hint="Rename the group.",
            reason="SET_FILE_INVALID",
            field="slice_from_path",
        )
    return {**found.columns, **from_paths}


def columns_from_paths(paths: Sequence[Path], pattern: str, *, root: Path) -> dict[str, tuple[str, ...]]:
    """Values that a regular expression's named groups have in paths; a group that takes no part is empty.

    Raises:
        DataError: A path does not match.
    """
    if not pattern:
        return {}
    expression = re.compile(pattern)
    values: dict[str, list[str]] = {name: [] for name in expression.groupindex}
    for path in paths:
        below = path.relative_to(root) if path.is_relative_to(root) else path
        match = expression.search(below.as_posix())
        if match is None:
            raise DataError(
                f"slice_from_path = {pattern!r} does not match {below.as_posix()}",
                hint="It is searched in every image's path below the set's folder.",
                reason="SET_FILE_INVALID",
                field="slice_from_path",
            )
        for name, value in match.groupdict().items():
            values[name].append(value or "")
    return {name: tuple(listed) for name, listed in values.items()}
