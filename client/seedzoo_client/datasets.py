"""A user's validation data on this machine: images with the task's labels, never all in memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seedzoo.errors import DataError, RequestError
from seedzoo_client.labels import ClassMatcher, LabelMap
from seedzoo_client.quoting import quoted
from seedzoo_client.scan import Example, Scan, check_files, scan_data, some_names

__all__ = ["DataSource", "Item", "LocalDataset", "SliceColumn", "bind", "open_dataset", "scan_source"]

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})

DataSource = str | os.PathLike[str] | Iterable[tuple[str | os.PathLike[str], str | None]]
"""A folder, a CSV file, or pairs of image path and class name (None without label)."""


@dataclass(frozen=True, slots=True)
class SliceColumn:
    """What divides the images into slices, and the slices' names in order of first appearance."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One image: where it lies, its class as an index (None without label), and its group (None without one)."""

    path: Path
    label: int | None
    group: int | None = None
    slices: tuple[int, ...] = ()
    """For each slice column of the dataset, the position of its slice."""


@dataclass(frozen=True, slots=True)
class LocalDataset:
    """Images on this machine with labels of a task."""

    source: str
    """What the user calls it."""
    classes: tuple[str, ...]
    """The task's class names, which labels index."""
    items: tuple[Item, ...]
    class_counts: dict[str, int]
    """Labelled images of each class, 0 included."""
    notes: tuple[str, ...] = ()
    """What was understood (a folder name that differs in case)."""
    warnings: tuple[str, ...] = field(default=())
    """What is probably a mistake."""
    slice_columns: tuple[SliceColumn, ...] = ()

    @property
    def is_labelled(self) -> bool:
        """Whether every item has a label."""
        return all(item.label is not None for item in self.items)

    def name_faults(self, faults: Mapping[int, str]) -> str:
        """Paths of the items at fault and what is wrong with each, up to five, for messages; empty for none."""
        return some_names(
            [f"{self.items[index].path} ({what})" for index, what in faults.items() if 0 <= index < len(self.items)]
        )


def open_dataset(data: DataSource, *, task_classes: Sequence[str], label_map: LabelMap | None = None) -> LocalDataset:
    """Find the images of ``data`` and match their class names with the task's.

    Args:
        data: Folder, CSV file (``path,label``), or pairs of path and class name; labels may be missing.
        task_classes: Class names of the task, in order.
        label_map: The user's class names to the task's, or a file with them.

    Raises:
        DataError: The data, a file of them, a class name or the label map cannot be used; says which.
    """
    return bind(scan_source(data), ClassMatcher(task_classes, label_map))


def scan_source(data: DataSource | Scan, *, group: str | None = None, slices: Sequence[str] = ()) -> Scan:
    """Find examples without yet knowing the task; options as in :func:`seedzoo_client.scan.scan_data`.

    What was found already is returned as it is.

    Raises:
        DataError: As for :func:`open_dataset`.
        RequestError: Pairs have no columns, or ``slices`` names what cannot be a column of slices.
    """
    if isinstance(data, Scan):
        refuse_columns(group, slices, what="the data were read already, with their columns")
        return data
    if isinstance(data, str | os.PathLike):
        return scan_data(data, group=group, slices=slices)
    refuse_columns(group, slices, what="pairs of path and class name have no columns")
    try:
        examples = tuple(Example(Path(path), label) for path, label in data)
    except (TypeError, ValueError) as error:
        raise DataError("items must be pairs of image path and class name") from error
    for example in examples:
        if not (example.label is None or isinstance(example.label, str)):
            raise DataError(f"the class of {example.path} must be a name or None, not {quoted(example.label)}")
    if not examples:
        raise DataError("the data have no items", reason="DATA_EMPTY")
    check_files(examples)
    return Scan(Path("the given items"), examples)


def refuse_columns(
    group: str | None, slices: Sequence[str], *, what: str = "the data are uploaded already, with their columns"
) -> None:
    """Refuse columns for data that take none.

    Raises:
        RequestError: A group or slices are named.
    """
    for field_name, column in [("group", group), *(("slices", name) for name in slices)]:
        if column is not None:
            raise RequestError(
                f"{what}: {quoted(column)} cannot be one",
                hint="Give a CSV file with path,label and that column.",
                field=field_name,
            )


def bind(scan: Scan, matcher: ClassMatcher) -> LocalDataset:
    """Turn the user's class names into indices of the task's classes.

    Raises:
        DataError: A class name that the task does not have.
    """
    stranger = matcher.unknown(scan.labels, source=str(scan.source))
    if stranger is not None:
        splits = [label for label in scan.labels if label.lower() in _SPLITS]
        if len(splits) == len(scan.labels):
            chosen = next((label for label in splits if not label.lower().startswith("train")), splits[0])
            stranger.hint = f"These look like splits, not classes: name one, --data {scan.source / chosen}."
        elif all(matcher.index(label) is None for label in scan.labels):
            stranger.hint += " Images without label lie directly in the folder, or in a CSV file without column label."
        raise stranger
    index_of = {label: index for label in scan.labels if (index := matcher.index(label)) is not None}
    # Numbers stand for the groups' names, which stay here as file names do.
    group_of: dict[str, int] = {}
    slice_of: list[dict[str, int]] = [{} for _ in scan.slice_columns]
    items = tuple(
        Item(
            example.path,
            None if example.label is None else index_of[example.label],
            None if example.group is None else group_of.setdefault(example.group, len(group_of)),
            tuple(known.setdefault(value, len(known)) for known, value in zip(slice_of, example.slices, strict=True)),
        )
        for example in scan.examples
    )
    counts = Counter(item.label for item in items)
    named = {name: counts[index] for index, name in enumerate(matcher.classes)}
    notes = [
        f"{quoted(label)} is taken for {quoted(matcher.classes[index])}"
        for label, index in index_of.items()
        if matcher.is_guess(label)
    ]
    return LocalDataset(
        source=str(scan.source),
        classes=matcher.classes,
        items=items,
        class_counts=named,
        notes=tuple(notes),
        warnings=scan.warnings,
        slice_columns=tuple(
            SliceColumn(name, tuple(known)) for name, known in zip(scan.slice_columns, slice_of, strict=True)
        ),
    )
