"""Examples found on disk, and what is checked of each without opening it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedzoo.errors import DataError
from seedzoo_client.quoting import quoted

__all__ = ["Example", "Scan", "check_files", "check_repeats", "some_names", "unreadable"]

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Example:
    """One image and what the user calls it."""

    path: Path
    label: str | None
    where: str = ""
    """Place of a CSV row, for messages."""
    group: str | None = None
    """Images of one group depend on each other."""
    slices: tuple[str, ...] = ()
    """For each slice column, the slice that the image belongs to."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found."""

    source: Path
    examples: tuple[Example, ...]
    warnings: tuple[str, ...] = ()
    slice_columns: tuple[str, ...] = ()
    """What divides the examples into slices; :attr:`Example.slices` follows this order."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The user's class names, in order of appearance."""
        return tuple(dict.fromkeys(example.label for example in self.examples if example.label is not None))

    @property
    def label_note(self) -> str:
        """What it means for a choice that images have no label; empty where all have one."""
        without = sum(example.label is None for example in self.examples)
        labelled = len(self.examples) - without
        if not without:
            return ""
        if not labelled:
            return "no image has a label: variants are ranked without evidence, unverified"
        return (
            f"{'1 image has a label' if labelled == 1 else f'{labelled:,} images have labels'}, "
            f"{without:,} {'has' if without == 1 else 'have'} none: "
            "the latter only help to choose (what is said of accuracy rests on the labelled images)"
        )


def some_names(paths: Sequence[object]) -> str:
    """Up to five of them, and how many more."""
    # Paths are copied: they stay whole.
    shown = ", ".join(str(path) for path in paths[:_NAMED])
    return shown if len(paths) <= _NAMED else f"{shown} and {len(paths) - _NAMED} more"


def check_files(examples: Sequence[Example]) -> None:
    """Check that every example is a regular file with something in it.

    Raises:
        DataError: One is not; names it.
    """
    empty: list[Path] = []
    for example in examples:
        lead = f"{example.where}: " if example.where else ""
        try:
            found = example.path.stat()
        except FileNotFoundError as error:
            broken = "is a link to nothing" if example.path.is_symlink() else "does not exist"
            hint = "Paths are relative to the CSV file." if example.where else ""
            raise DataError(f"{lead}{example.path} {broken}", hint=hint, reason="FILE_MISSING") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{lead}cannot read {example.path}: {_why(error)}", reason="FILE_UNREADABLE") from error
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise DataError(f"{lead}{example.path} is {kind}", reason="NOT_AN_IMAGE")
        if found.st_size == 0:
            empty.append(example.path)
    if empty:
        count = "one file is" if len(empty) == 1 else f"{len(empty)} files are"
        raise DataError(
            f"{count} empty (zero bytes): {some_names(empty)}",
            hint="Copy the images again, or remove them.",
            reason="FILE_EMPTY",
        )


def check_repeats(examples: Sequence[Example]) -> tuple[str, ...]:
    """A warning where rows name the same file again; none where all differ.

    Raises:
        DataError: Two rows give one file different labels.
    """
    first: dict[str, Example] = {}
    folders: dict[Path, str] = {}
    repeats = 0
    for example in examples:
        earlier = first.setdefault(_real(example.path, folders), example)
        if earlier is not example:
            repeats += 1
            if earlier.label != example.label:
                raise DataError(
                    f"{example.where}: {example.path} is {_called(example)} here and {_called(earlier)} before "
                    f"({earlier.where.rpartition(', ')[2]})",
                    hint="Correct one of the rows.",
                    reason="LABELS_CONTRADICT",
                )
    if not repeats:
        return ()
    rows = "1 row repeats" if repeats == 1 else f"{repeats} rows repeat"
    return (f"{rows} an earlier path; the intervals count such an image once",)


def _called(example: Example) -> str:
    return "without label" if example.label is None else quoted(example.label)


def _real(path: Path, folders: dict[Path, str]) -> str:
    """One name for all spellings of a path; ``folders`` remembers those of its folders."""
    try:
        if path.name == ".." or path.is_symlink():
            return os.path.realpath(path)
        if path.parent not in folders:
            folders[path.parent] = os.path.realpath(path.parent)
    except (OSError, ValueError):
        # No path at all: the check of the files says so.
        return str(path)
    return os.path.join(folders[path.parent], path.name)  # noqa: PTH118 - many thousands of them


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for data that the operating system does not give out."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist", hint="Check the spelling of --data.", reason="DATA_MISSING")
    return DataError(f"cannot read {path}: {_why(error)}", hint="Check its permissions.", reason="FILE_UNREADABLE")


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
