"""The file that `zoo label` keeps: every answer as ``path,label,seedzoo_probability``, in the order it was given.

The last column says with what probability the image was drawn; it is empty for the random sample. It also tells
`zoo select` that the labels are no random sample. A label is in the file before it is sent, so the file holds all that
the server was told from here, and a server that lost it can be told again.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from seedzoo.errors import Conflict, DataError, LocalFailure
from seedzoo.files import write_atomically
from seedzoo_client.datasets import LocalDataset
from seedzoo_client.file_lock import InUseError, alone_at
from seedzoo_client.labels import ClassMatcher
from seedzoo_client.quoting import quoted

__all__ = ["Answer", "LabelFile", "real_paths"]

_HEADER = ["path", "label", "seedzoo_probability"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One row."""

    path: str
    """As in the file: relative to its folder where it was given so."""
    label: str
    probability: float | None
    line: int = 0


def real_paths(dataset: LocalDataset) -> dict[str, list[int]]:
    """Indices of each image, several where it is listed more than once, by the one true spelling of its path."""
    found: dict[str, list[int]] = {}
    for index, item in enumerate(dataset.items):
        found.setdefault(os.path.realpath(item.path), []).append(index)
    return found


class LabelFile:
    """Reads what an earlier run left, and writes every further answer; see :meth:`opened`.

    Args:
        path: The file; it need not exist yet.

    Raises:
        DataError: It is there and was not written by `zoo label`, or a row of it cannot be used.
        LocalFailure: Its folder does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.parent.is_dir():
            raise LocalFailure(f"the folder {path.parent} does not exist", hint="Make it first.")
        self._content = _bytes(path)
        """What stands in the file, so that nobody else's rows are overwritten; None where there is none."""
        self._rows = [] if self._content is None else _rows(self._content, path)
        self._row_of: dict[int, int] = {}
        self._indices_of: dict[str, list[int]] = {}
        self.labels: dict[int, int] = {}
        """Class of each image, by index."""

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[LabelFile]:
        """The file for this process alone: each of two would write what it alone knows, and lose the other's answers.

        Raises:
            Conflict: Another process has it open.
            DataError: As for the class.
            LocalFailure: As for the class.
        """
        if not path.parent.is_dir():
            raise LocalFailure(f"the folder {path.parent} does not exist", hint="Make it first.")
        with _alone(path):
            yield cls(path)

    def bind(self, dataset: LocalDataset, matcher: ClassMatcher) -> None:
        """Find out which images and classes the rows mean.

        Raises:
            DataError: A row names an image that is not in the data, or no class.
        """
        self._indices_of = real_paths(dataset)
        for position, row in enumerate(self._rows):
            indices = self._indices_of.get(os.path.realpath(self.path.parent / row.path), [])
            if not indices:
                raise DataError(
                    f"{self.path}, line {row.line}: {row.path} is not among the images of {dataset.source}",
                    hint="Name another file with --progress, or remove the row.",
                    reason="LABELS_OF_OTHER_DATA",
                )
            label = matcher.index(row.label)
            if label is None:
                raise DataError(
                    f"{self.path}, line {row.line}: {quoted(row.label)} is no class of the task",
                    hint="Correct it, or name another file with --progress.",
                    reason="LABEL_UNKNOWN",
                )
            if self.labels.get(indices[0], label) != label:
                raise DataError(
                    f"{self.path}, line {row.line}: {row.path} has another label further up",
                    hint="Remove one of the rows.",
                    reason="LABELS_CONTRADICT",
                )
            self.labels.update(dict.fromkeys(indices, label))
            self._row_of.update(dict.fromkeys(indices, position))

    def record(self, index: int, path: Path, label: int, name: str, probability: float | None) -> None:
        """Write an answer; one that is there already only gets its probability.

        Args:
            index: Which image.
            path: Where it is.
            label: Its class.
            name: The class's name.
            probability: With what probability it was drawn, or None.

        Raises:
            Conflict: Somebody else changed the file meanwhile; it stays as they left it.
            LocalFailure: The disk is full or refuses; what was written before is kept.
        """
        if _bytes(self.path) != self._content:
            raise Conflict(
                f"{self.path} was changed by somebody else while `zoo label` runs; it is left as it is",
                hint="Run the same command again: it reads the file anew.",
                reason="LABEL_FILE_CHANGED",
            )
        if index in self._row_of:
            position = self._row_of[index]
            if self._rows[position].probability == probability:
                return
            self._rows[position] = replace(self._rows[position], probability=probability)
        else:
            indices = self._indices_of[os.path.realpath(path)]
            self._row_of.update(dict.fromkeys(indices, len(self._rows)))
            self.labels.update(dict.fromkeys(indices, label))
            self._rows.append(Answer(self._spelling(path), name, probability))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows([row.path, row.label, "" if row.probability is None else repr(row.probability)]
                         for row in self._rows)  # fmt: skip
        content = text.getvalue().encode("utf-8", "surrogateescape")
        # A link stays one.
        write_atomically(Path(os.path.realpath(self.path)), content)
        self._content = content

    def probability(self, index: int) -> float | None:
        """With what probability an image of the file was drawn."""
        return self._rows[self._row_of[index]].probability

    def _spelling(self, path: Path) -> str:
        """As the file's reader will find it: paths are relative to its folder."""
        try:
            return str(path) if path.is_absolute() else os.path.relpath(path, self.path.parent)
        except ValueError:  # another drive
            return str(path.absolute())


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            # All spellings of a path are one file.
            held.enter_context(alone_at(Path(os.path.realpath(path))))
        except InUseError as other:
            process = f" (process {other.process})" if other.process else ""
            raise Conflict(
                f"another `zoo label`{process} writes its answers to {path}",
                hint="Wait until it ends; to work beside it, name another file with --progress and another --seed.",
                reason="LABEL_FILE_IN_USE",
            ) from None
        yield


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", hint="Check its permissions.") from error


def _rows(content: bytes, path: Path) -> list[Answer]:
    rows: list[Answer] = []
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig", "surrogateescape"), newline=""), strict=True)
    try:
        if next(reader, None) != _HEADER:
            raise DataError(
                f"{path} was not written by zoo label: it does not begin with {','.join(_HEADER)}",
                hint="Name another file with --progress; labels of your own go in with --from.",
                reason="LABEL_FILE_INVALID",
            )
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(_HEADER) or not cells[0] or not cells[1]:
                raise _bad_row(path, reader.line_num, "path, label and probability are needed")
            rows.append(Answer(cells[0], cells[1], _probability(cells[2], path, reader.line_num), reader.line_num))
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file: {error}", reason="LABEL_FILE_INVALID") from error
    return rows


def _probability(text: str, path: Path, line: int) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise _bad_row(path, line, f"{quoted(text)} is no probability") from error
    if not (math.isfinite(value) and 0 < value <= 1):
        raise _bad_row(path, line, f"{quoted(text)} is no probability")
    return value


def _bad_row(path: Path, line: int, why: str) -> DataError:
    return DataError(f"{path}, line {line}: {why}", hint="Correct or remove the row.", reason="LABEL_FILE_INVALID")
