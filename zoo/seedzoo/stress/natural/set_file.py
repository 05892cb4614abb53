"""The TOML file that describes one natural shift, and the files of the known sets that ship with seedzoo."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import msgspec

from seedzoo.errors import DataError, NotFound

__all__ = [
    "KINDS",
    "SetFile",
    "check_set_file",
    "clean_name",
    "is_known",
    "known_set",
    "known_sets",
    "nearest",
    "read_set_file",
]

KINDS = ("folders", "manifest", "files", "frames", "ytbb")
CANDIDATES = ("all", "mapped")
ORDERS = ("", "imagenet")
_SHIPPED = Path(__file__).parent / "sets"
_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class SetFile:
    """What a set file says; its keys are these fields.

    Attributes:
        name: Its condition is ``natural/<name>``.
        title: One line for people.
        kind: ``folders`` (one folder for each label), ``manifest`` (CSV or Parquet with the columns ``path`` and
            ``label``), ``files`` (labels by file name), ``frames`` and ``ytbb`` (pm-k sets of video frames). Empty:
            ``manifest`` where ``path`` is a CSV or Parquet file, else ``folders``.
        path: Where the images lie, relative to this file; the known sets are told.
        subfolders: Folders below ``path`` that are taken instead where they exist, the first first.
        labels: Label map: folder or label -> the class name that counts as right, or a list of names; an empty list
            leaves the images out. A table, or the path of a TOML or JSON file with one, relative to this file. A
            ``.txt`` file lists labels that are class names themselves. Without one every label must be a class name.
        folders_are_lines: Folder ``17`` is line 17 (from 0) of the ``.txt`` file.
        metadata: Folder of further annotations (``ytbb``).
        missing_classes: Class names that the task lacks are passed over and counted instead of refused.
        ignore_unmapped: Labels that are neither in the map nor a class are left out and counted instead of refused.
        complete: A label without an image is an error, not a note.
        images: How many images the whole set has; another number is noted. 0: not known.
        candidates: ``all`` classes may be predicted, or only the ``mapped`` ones, among which the scores compete.
        border: Pixels cut off every side of each image.
        order: ``imagenet`` says that the task's 1,000 classes are ImageNet's in the usual order, whatever their names.
        slices: Columns of the manifest that form slices; None: all with at most 50 values.
        scene_column: Column of the manifest; images of one value are right only together.
        slice_from_path: Regular expression with named groups, searched in each image's path below ``path``: every
            group is a column of slices.
        k: Frames this far from the anchor count (``frames``, ``ytbb``).
        required: Fields that the user has to give.
        scoring: One line for people: when a prediction is right.
        layout: One line for people: what lies in the folder.
        base: Folder that relative paths start from; not a key.
    """

    name: str = ""
    title: str = ""
    kind: str = ""
    path: str = ""
    subfolders: tuple[str, ...] = ()
    labels: str | dict[str, str | list[str]] = ""
    folders_are_lines: bool = False
    metadata: str = ""
    missing_classes: bool = False
    ignore_unmapped: bool = False
    complete: bool = False
    images: int = 0
    candidates: str = "all"
    border: int = 0
    order: str = ""
    slices: tuple[str, ...] | None = None
    scene_column: str = ""
    slice_from_path: str = ""
    k: int = 10
    required: tuple[str, ...] = ()
    scoring: str = ""
    layout: str = ""
    base: Path = field(default_factory=Path)


def known_sets() -> dict[str, SetFile]:
    """The sets that ship with seedzoo, by name."""
    return {path.stem: read_set_file(path) for path in sorted(_SHIPPED.glob("*.toml"))}


def is_known(name: str) -> bool:
    """Whether a set that ships with seedzoo has that name, or nearly that one, so that it must be meant."""
    names = [found.stem for found in _SHIPPED.glob("*.toml")]
    return bool(difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.75))


def known_set(name: str) -> SetFile:
    """One of the sets that ship with seedzoo.

    Raises:
        NotFound: There is none of that name.
    """
    path = _SHIPPED / f"{name}.toml"
    names = sorted(found.stem for found in _SHIPPED.glob("*.toml"))
    if name not in names:
        raise NotFound(
            f"no known natural shift is named {name!r}",
            hint=f"{nearest(name, names)} A set of your own needs a path that exists.",
            reason="NATURAL_SET_UNKNOWN",
            field="natural",
        )
    return read_set_file(path)


def read_set_file(path: Path) -> SetFile:
    """Read and check a set file.

    Raises:
        DataError: It cannot be read, is not TOML, or has an unknown key or a value that is not possible.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", reason="SET_FILE_INVALID") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", reason="SET_FILE_INVALID") from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is not valid TOML: {error}", reason="SET_FILE_INVALID") from error
    known = [item.name for item in fields(SetFile) if item.name != "base"]
    for key in data:
        if key not in known:
            raise DataError(
                f"{path}: unknown key {key}", hint=nearest(key, known), reason="SET_FILE_INVALID", field=key
            )
    try:
        read = msgspec.convert(data, SetFile)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {error}", reason="SET_FILE_INVALID") from error
    named = replace(read, name=read.name or clean_name(path.stem), base=path.parent)
    check_set_file(named, str(path))
    return named


def check_set_file(given: SetFile, where: str) -> None:
    """Refuse values that are not possible.

    Raises:
        DataError: One is not; names the key.
    """

    def require(condition: bool, key: str, rule: str) -> None:
        if not condition:
            raise DataError(f"{where}: {key} {rule}", reason="SET_FILE_INVALID", field=key)

    require(
        _NAME.fullmatch(given.name) is not None,
        "name",
        f"must be small letters and digits with . - _ between them, not {given.name!r}",
    )
    for key, value, allowed in (
        ("kind", given.kind, ("", *KINDS)),
        ("candidates", given.candidates, CANDIDATES),
        ("order", given.order, ORDERS),
    ):
        if value not in allowed:
            shown = [name for name in allowed if name]
            raise DataError(
                f"{where}: {key} cannot be {value!r}", hint=nearest(value, shown), reason="SET_FILE_INVALID", field=key
            )
    require(0 <= given.border <= 1000, "border", "must lie between 0 and 1000")
    require(0 <= given.k <= 10, "k", "must lie between 0 and 10: farther frames have not been reviewed")
    require(given.images >= 0, "images", "cannot be negative")
    manifest = given.kind in ("manifest", "")
    require(manifest or given.slices is None, "slices", "names columns of a manifest, and this set has none")
    require(manifest or not given.scene_column, "scene_column", "is a column of a manifest, and this set has none")
    require(given.kind not in {"frames", "ytbb"} or not given.slice_from_path, "slice_from_path",
            f"is not for the kind {given.kind}")  # fmt: skip
    require(not given.folders_are_lines or str(given.labels).endswith(".txt"), "folders_are_lines",
            "needs labels = a .txt file")  # fmt: skip
    unknown = set(given.required) - {item.name for item in fields(SetFile)}
    require(not unknown, "required", f"names no keys of a set file: {', '.join(sorted(unknown))}")
    if given.slice_from_path:
        try:
            groups = re.compile(given.slice_from_path).groupindex
        except re.error as error:
            raise DataError(
                f"{where}: slice_from_path is not a regular expression: {error}",
                reason="SET_FILE_INVALID",
                field="slice_from_path",
            ) from error
        require(bool(groups), "slice_from_path", "has no named group such as (?P<site>[^/]+)")


def clean_name(text: str) -> str:
    """A set's name made from a file's or folder's: small letters and digits, what is between them a hyphen."""
    return "-".join(re.findall(r"[a-z0-9]+(?:\.[a-z0-9]+)*", text.lower())) or "set"


def nearest(name: str, known: Collection[str]) -> str:
    """A hint that names the nearest known name, or all of them."""
    folded = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1)
    if near:
        return f"Did you mean {folded[near[0]]}?"
    listed = sorted(known)
    return f"There are: {', '.join(listed[:20])}{', …' if len(listed) > 20 else ''}."
