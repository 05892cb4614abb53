"""What a user writes for a natural shift, and the sets that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seedzoo.errors import DataError, RequestError
from seedzoo.records import Preprocessing
from seedzoo.stress.natural.assemble import NaturalSet, assemble
from seedzoo.stress.natural.folders import find_files, find_folders
from seedzoo.stress.natural.frames import frames_found, vid_scenes, whole_scenes, within, ytbb_scenes
from seedzoo.stress.natural.manifest import MANIFESTS, find_manifest
from seedzoo.stress.natural.set_file import (
    SetFile,
    check_set_file,
    clean_name,
    is_known,
    known_set,
    nearest,
    read_set_file,
)
from seedzoo.stress.natural.vocabulary import TaskClasses, task_classes

__all__ = ["load_natural", "read_spec"]

_OPTIONS = ("candidates", "complete", "ignore_unmapped", "k", "labels", "metadata", "name", "order", "slices")
_FLAGS = {"true": True, "false": False}


def load_natural(spec: str, *, classes: Sequence[str], preprocessing: Preprocessing) -> tuple[NaturalSet, ...]:
    """The sets that a user's words stand for.

    Args:
        spec: ``NAME=PATH`` (a known set and where it lies), the path of a TOML set file, of a manifest (``.csv``,
            ``.parquet``), or of a folder whose folders are the task's class names; ``NAME=`` before such a path of
            your own names the set, unless it nearly is a known one's name. ``?key=value&…`` behind it sets
            ``order``, ``candidates``, ``name``, ``k``, ``labels``, ``metadata``, ``slices`` (comma between names),
            ``complete`` or ``ignore_unmapped`` of the :class:`SetFile`. Relative paths start from the working folder.
        classes: The task's class names, in the order of the models' outputs.
        preprocessing: What the task's models take.

    Returns:
        One set; of frames two, for the anchors alone (``-pm0``) and with the frames around them (``-pm10``).

    Raises:
        RequestError: The words cannot be read.
        NotFound: There is no known set of that name.
        DataError: The set file, label map, manifest or images cannot be used.
    """
    try:
        return _load(spec, classes, preprocessing)
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename or spec}: {error.strerror or error}", reason="DATA_UNREADABLE"
        ) from error


def _load(spec: str, classes: Sequence[str], preprocessing: Preprocessing) -> tuple[NaturalSet, ...]:
    given, path = read_spec(spec)
    names = task_classes(classes, given.order)
    if given.kind in {"frames", "ytbb"}:
        return _pm_sets(given, path, names, preprocessing)
    find = {"folders": find_folders, "manifest": find_manifest, "files": find_files}[given.kind]
    found, root = find(given, path, names)
    return (assemble(found, given, root=root, classes=len(names), preprocessing=preprocessing),)


def _pm_sets(given: SetFile, path: Path, names: TaskClasses, preprocessing: Preprocessing) -> tuple[NaturalSet, ...]:
    scenes, groups, notes = vid_scenes(given) if given.kind == "frames" else ytbb_scenes(given)
    whole = whole_scenes(given, path, names, within(scenes, given.k), groups)
    whole.notes[:0] = notes
    return tuple(
        assemble(
            frames_found(whole, k),
            given,
            root=whole.root,
            classes=len(names),
            preprocessing=preprocessing,
            suffix=f"-pm{k}",
        )
        for k in dict.fromkeys((0, given.k))
    )


def read_spec(spec: str) -> tuple[SetFile, Path]:
    """What a user's words say: the set, and where its images lie.

    Raises:
        RequestError: They cannot be read.
        NotFound: There is no known set of that name.
        DataError: A set file that cannot be used, or nothing is there.
    """
    place, options = _split_options(spec)
    name, equals, location = place.partition("=")
    # A path may hold an equals sign itself.
    if equals and not Path(place).exists() and "/" not in name:
        if not location:
            raise RequestError(f"{spec!r} does not say where the set lies", hint=f"{name}=PATH", field="natural")
        path = Path(location).expanduser()
        if is_known(name) or not path.exists():
            given = known_set(name)
        else:
            given, path = _own_set(path)
            given = replace(given, name=clean_name(name))
    else:
        if not place:
            raise RequestError("a natural shift needs NAME=PATH or a path", field="natural")
        given, path = _own_set(Path(place).expanduser())
    given = _with_options(given, options, spec)
    if not given.kind:
        given = replace(given, kind="manifest" if path.suffix.lower() in MANIFESTS else "folders")
    for key in given.required:
        if not getattr(given, key):
            raise RequestError(
                f"{given.name} needs ?{key}=… behind the path", hint=f"Expected: {given.layout}.", field=key
            )
    check_set_file(given, spec)
    return given, path


def _own_set(path: Path) -> tuple[SetFile, Path]:
    """The set that a set file, a manifest or a folder describes, and where its images lie."""
    if path.suffix.lower() == ".toml":
        given = read_set_file(path)
        return given, path.parent / given.path
    return SetFile(name=clean_name(path.absolute().stem if path.is_file() else path.absolute().name)), path


def _split_options(spec: str) -> tuple[str, dict[str, str]]:
    if "?" not in spec or Path(spec).exists():
        return spec, {}
    place, _, query = spec.rpartition("?")
    options = {}
    for part in query.split("&"):
        key, equals, value = part.partition("=")
        if key not in _OPTIONS:
            raise RequestError(f"{spec!r}: unknown option {key!r}", hint=nearest(key, _OPTIONS), field="natural")
        if not equals or not value:
            raise RequestError(f"{spec!r}: the option {key} has no value", hint=f"{key}=VALUE", field="natural")
        if key in options:
            raise RequestError(f"{spec!r} gives {key} twice", field="natural")
        options[key] = value
    return place, options


def _with_options(given: SetFile, options: dict[str, str], spec: str) -> SetFile:
    changes: dict[str, Any] = dict(options)
    for key, value in options.items():
        if key == "k":
            if not value.isdecimal():
                raise RequestError(f"{spec!r}: k must be a number, not {value!r}", field="natural")
            changes[key] = int(value)
        elif key == "slices":
            changes[key] = tuple(value.split(","))
        elif key in {"complete", "ignore_unmapped"}:
            if value not in _FLAGS:
                raise RequestError(f"{spec!r}: {key} must be true or false, not {value!r}", field="natural")
            changes[key] = _FLAGS[value]
        elif key in {"labels", "metadata"}:
            # Relative to where the user stands, not to the set file.
            changes[key] = str(Path(value).expanduser().absolute())
    if "labels" in options and given.kind in {"frames", "ytbb"}:
        raise RequestError(f"{spec!r}: the labels of {given.name} cannot be replaced", field="natural")
    return replace(given, **changes)
